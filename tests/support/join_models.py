"""List-based models of joins, which `StreamJoin` and `StreamTableJoin` are compared with."""

from __future__ import annotations

from typing import Any, NamedTuple

Result = tuple[Any, Any, int]


class Waiting(NamedTuple):
    """An unmatched record. Records of the right side sort before those of the left."""

    timestamp: int
    left: bool
    key: str
    number: int
    value: Any


class StreamJoinModel:
    """A model of Kafka Streams' stream-stream join that never deletes a record."""

    def __init__(self, before: int, after: int, grace: int, how: str) -> None:
        self.before, self.after, self.grace = before, after, grace
        self.outer = {"left": how != "inner", "right": how == "outer"}
        self.records: dict[str, list[tuple[int, int, Any, Any]]] = {"left": [], "right": []}
        self.waiting: list[Waiting] = []
        self.time = -1
        self.oldest: int | None = None
        self.number = 0

    def add(self, side: str, key: Any, value: Any, timestamp: int) -> list[Result]:
        """Add a record, and return the results."""
        self.number += 1
        self.time = max(self.time, timestamp)
        other = "right" if side == "left" else "left"
        back, ahead = (self.before, self.after) if side == "left" else (self.after, self.before)
        if key is None or value is None:
            return [(None, pair(side, value, None), timestamp)] if self.outer[side] and value is not None else []
        found: list[Result] = []
        if timestamp == self.time and self.oldest is not None and self.oldest + ahead + self.grace < self.time:
            found += self.given_up()
        newest = max((at for at, *_ in self.records[other]), default=-1)
        first = timestamp - back
        if timestamp < newest:
            first = max(first, newest - (self.before + self.after + self.grace) + 1)
        matches = [
            (at, match)
            for at, _, its, match in sorted(self.records[other], key=lambda record: record[:2])
            if its == key and first <= at <= timestamp + ahead
        ]
        for at, match in matches:
            found.append((key, pair(side, value, match), max(timestamp, at)))
            self.waiting = [w for w in self.waiting if (w.timestamp, w.left, w.key) != (at, other == "left", key)]
        if not matches and self.outer[side]:
            if timestamp + ahead < self.time:
                found.append((key, pair(side, value, None), timestamp))
            else:
                self.waiting.append(Waiting(timestamp, side == "left", key, self.number, value))
                self.oldest = timestamp if self.oldest is None else min(self.oldest, timestamp)
        self.records[side].append((timestamp, self.number, key, value))
        return found

    def given_up(self) -> list[Result]:
        """Return unmatched records whose window has closed, by the same bookkeeping as in Kafka Streams."""
        found: list[Result] = []
        open_sides: set[bool] = set()
        kept: list[Waiting] = []
        self.oldest = None
        order = sorted(self.waiting, key=lambda w: w[:4])
        for place, waiting in enumerate(order):
            self.oldest = waiting.timestamp
            if len(open_sides) == 2:
                kept += order[place:]
                break
            ahead = self.after if waiting.left else self.before
            if waiting.timestamp + ahead + self.grace >= self.time:
                open_sides.add(waiting.left)
                kept.append(waiting)
            else:
                side = "left" if waiting.left else "right"
                found.append((waiting.key, pair(side, waiting.value, None), waiting.timestamp))
        self.waiting = kept
        return found


def pair(side: str, mine: Any, other: Any) -> list[Any]:
    return [mine, other] if side == "left" else [other, mine]
