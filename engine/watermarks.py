"""The time of a task whose inputs have watermarks: what it is after each record, and what it is when nothing comes.

Pure. Time is the newest timestamp of the input that is furthest behind, less what that input allows for; it only goes
forward. It is told to the steps in grains: a run of records is cut after the record with which time enters the next
grain, so where steps learn of it depends on the records alone, not on how they came in batches. An input is idle, and
not waited for, when it has been at its end for its idle time. When all are idle time goes on from the newest timestamp
as the wall clock does. What was seen of an input goes with its committed offset, so a restart goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from ..operators.record import Record
from ..operators.watermark import Watermark

__all__ = ["NOTHING", "Seen", "Watermarks", "seen_in"]

Key = tuple[str, int]
Records = list[Record[Any, Any]]
timestamp_of = attrgetter("timestamp")


class Seen(NamedTuple):
    """The newest timestamp of an input, and the wall-clock time at which its last record came; -1 when not known."""

    newest: int
    arrived: int

    def __str__(self) -> str:
        return f"n={self.newest};a={self.arrived}"


NOTHING = Seen(-1, -1)


class Watermarks:
    """The time of one task."""

    def __init__(self, inputs: Mapping[Key, Watermark], seen: Mapping[Key, Seen]) -> None:
        self._inputs = dict(inputs)
        self._seen = {key: seen.get(key, NOTHING) for key in inputs}
        self._grain = min(watermark.grain for watermark in inputs.values())
        self._idle: set[Key] = set()
        self.time = -1
        self.time = max(-1, self._least(None))

    def seen(self) -> dict[Key, Seen]:
        """What was seen of each input."""
        return dict(self._seen)

    def cut(self, key: Key, records: Records, now: int) -> Iterator[tuple[Records, int | None]]:
        """The records of a run in stretches, each with the time that the steps are to be told after it, if any."""
        watermark = self._inputs.get(key)
        if watermark is None or not records:
            yield records, None
            return
        self._idle.discard(key)
        newest, delay = self._seen[key].newest, watermark.delay
        others = self._least(key)
        begin, edge = 0, self._next_edge()
        last = max(newest, *map(timestamp_of, records))
        if min(last - delay, others) >= edge:
            for place, record in enumerate(records, start=1):
                if record.timestamp > newest:
                    newest = record.timestamp
                    time = min(newest - delay, others)
                    if time >= edge:
                        self._seen[key] = Seen(newest, now)
                        self.time = time
                        yield records[begin:place], time
                        begin, edge = place, self._next_edge()
        self._seen[key] = Seen(last, now)
        if begin < len(records):
            yield records[begin:], None

    def quiet(self, now: int, at_end: Callable[[Key], bool]) -> int | None:
        """The time to tell the steps because inputs are quiet, if it goes on."""
        for key, watermark in self._inputs.items():
            newest, arrived = self._seen[key]
            if arrived < 0:
                self._seen[key] = Seen(newest, now)
            elif not at_end(key):
                self._idle.discard(key)
            elif watermark.idle is not None and now - arrived >= watermark.idle:
                self._idle.add(key)
        time = self._gone_on(now) if len(self._idle) == len(self._inputs) else self._least(None)
        if time < self._next_edge():
            return None
        self.time = time
        return time

    def _gone_on(self, now: int) -> int:
        """The time when all inputs are idle."""
        reached = [
            self._seen[key].newest - watermark.delay
            for key, watermark in self._inputs.items()
            if self._seen[key].newest >= 0
        ]
        if not reached:
            return -1
        return max(reached) + now - max(arrived for _, arrived in self._seen.values())

    def _least(self, but: Key | None) -> int:
        """The time that the inputs which are not idle allow, but for one of them; no bound when there is no other."""
        return min(
            (
                self._seen[key].newest - watermark.delay if self._seen[key].newest >= 0 else -1
                for key, watermark in self._inputs.items()
                if key != but and key not in self._idle
            ),
            default=-1 if but is None else 1 << 62,
        )

    def _next_edge(self) -> int:
        """The time from which on steps are told again."""
        return (self.time // self._grain + 1) * self._grain if self.time >= 0 else 0


def seen_in(metadata: str) -> Seen:
    """What an offset's metadata says was seen of the input."""
    fields: dict[str, str] = {}
    for part in metadata.split(";"):
        name, _, text = part.partition("=")
        fields[name] = text
    newest, arrived = (int(text) if (text := fields.get(name, "")).isdecimal() else -1 for name in ("n", "a"))
    return Seen(newest, arrived)
