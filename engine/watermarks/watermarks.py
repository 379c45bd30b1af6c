"""The time of a task whose inputs have watermarks: what it is after each record, and what it is when nothing comes.

Pure. Time is the newest timestamp of the input that is furthest behind, less what that input allows for; it only goes
forward. It is told to the steps in grains: a run of records is cut after the record with which time enters the next
grain, so where steps learn of it depends on the records alone, not on how they came in batches. An input is idle, and
not waited for, when it has been at its end for its idle time. The time of a repartition topic is what the tasks tell
that write it (see `records.py`), and it is idle when they say so. When all are idle time goes on from the newest
timestamp as the wall clock does. What was seen of an input goes with its committed offset, so a restart goes on from
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from ...operators.record import Record
from ...operators.time.watermark import Watermark
from .records import Told

__all__ = ["NOTHING", "Seen", "Watermarks", "seen_in"]

Key = tuple[str, int]
Records = list[Record[Any, Any]]
timestamp_of = attrgetter("timestamp")


class Seen(NamedTuple):
    """The newest timestamp of an input, and the wall-clock time at which its last record came; -1 when not known."""

    newest: int
    arrived: int
    told: str = ""
    """What the tasks that write it have told: see `marks.Told`."""
    time: int = -1
    """What the steps of the task were told the time is."""

    def __str__(self) -> str:
        told = f";p={self.told}" if self.told else ""
        time = f";w={self.time}" if self.time >= 0 else ""
        return f"n={self.newest};a={self.arrived}{time}{told}"


NOTHING = Seen(-1, -1)


class Watermarks:
    """The time of one task."""

    def __init__(
        self, inputs: Mapping[Key, Watermark], seen: Mapping[Key, Seen], told: Mapping[Key, Told] | None = None
    ) -> None:
        """`told` are those of the inputs that carry marks."""
        self._inputs = dict(inputs)
        self._seen = {key: seen.get(key, NOTHING) for key in inputs}
        self._told = {key: by for key, by in (told or {}).items() if key in inputs}
        self._delays = {key: 0 if key in self._told else mark.bound for key, mark in inputs.items()}
        self._grain = min(watermark.grain for watermark in inputs.values())
        self._idle: set[Key] = {key for key, by in self._told.items() if by.idle}
        self.resumed = self.time = max((one.time for one in self._seen.values()), default=-1)
        """What the steps were told before; -1 when that is not known."""
        if self.time < 0:
            self.time = max(-1, self._least(None))

    def seen(self) -> dict[Key, Seen]:
        """What was seen of each input."""
        return {key: seen._replace(time=self.time) for key, seen in self._seen.items()}

    def cut(self, key: Key, records: Records, now: int) -> Iterator[tuple[Records, int | None]]:
        """The records of a run in stretches, each with the time that the steps are to be told after it, if any."""
        if key not in self._inputs or key in self._told or not records:
            yield records, None
            return
        self._idle.discard(key)
        newest, delay = self._seen[key].newest, self._delays[key]
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

    def told(self, key: Key, now: int) -> int | None:
        """The time to tell the steps now that the tasks which write an input have told something new."""
        if key not in self._told:
            return None
        told, seen = self._told[key], self._seen[key]
        if told.time > seen.newest or not told.idle:
            self._seen[key] = Seen(max(told.time, seen.newest), now)
        (self._idle.add if told.idle else self._idle.discard)(key)
        return self._on(self._time_at(now))

    @property
    def idle(self) -> bool:
        """Whether no input brings anything any more, and all that they brought is past."""
        return len(self._idle) == len(self._inputs)

    @property
    def newest(self) -> int:
        """The newest timestamp of all inputs."""
        return max(seen.newest for seen in self._seen.values())

    def quiet(self, now: int, at_end: Callable[[Key], bool]) -> int | None:
        """The time to tell the steps because inputs are quiet, if it goes on."""
        for key, watermark in self._inputs.items():
            newest, arrived, *_ = self._seen[key]
            if arrived < 0:
                self._seen[key] = Seen(newest, now)
            elif key in self._told:
                continue
            elif not at_end(key):
                self._idle.discard(key)
            elif watermark.idle is not None and now - arrived >= watermark.idle:
                self._idle.add(key)
        return self._on(self._time_at(now))

    def _on(self, time: int) -> int | None:
        """The time, if it comes into the next grain by it."""
        if time < self._next_edge():
            return None
        self.time = time
        return time

    def _time_at(self, now: int) -> int:
        return self._gone_on(now) if self.idle else self._least(None)

    def _gone_on(self, now: int) -> int:
        """The time when all inputs are idle."""
        reached = [self._seen[key].newest - delay for key, delay in self._delays.items() if self._seen[key].newest >= 0]
        if not reached:
            return -1
        return max(reached) + now - max(seen.arrived for seen in self._seen.values())

    def _least(self, but: Key | None) -> int:
        """The time that the inputs which are not idle allow, but for one of them; no bound when there is no other."""
        return min(
            (
                self._seen[key].newest - delay if self._seen[key].newest >= 0 else -1
                for key, delay in self._delays.items()
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
    times = (int(text) if (text := fields.get(name, "")).isdecimal() else -1 for name in ("n", "a", "w"))
    newest, arrived, time = times
    return Seen(newest, arrived, fields.get("p", ""), time)
