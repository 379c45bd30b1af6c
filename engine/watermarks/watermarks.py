"""The watermark of a task: its event time after each record, and while no records come.

Pure. The watermark is the newest timestamp of the input that is furthest behind, minus the bound of that input; it
never goes back. Steps receive it in grains: a run of records is cut after the record with which the watermark enters
the next grain. Where steps see a new watermark therefore depends only on the records, not on the batches they came in.

An input is idle, and does not hold the watermark back, when it has been at its end for its idle time. The watermark of
a repartition topic comes from the marks of the tasks that write it (see `records.py`), and it is idle if they are. When
all inputs are idle, the watermark advances from the newest timestamp with the wall clock. The progress of an input is
committed with its offset, so that a restart continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from ...operators.record import Record
from ...operators.time.watermark import Watermark
from ...state.topic_partition import TopicPartition
from .records import ReceivedMarks

__all__ = ["NOTHING", "InputProgress", "Watermarks", "seen_in"]

Records = list[Record[Any, Any]]
timestamp_of = attrgetter("timestamp")


class InputProgress(NamedTuple):
    """The newest timestamp of an input, and the wall-clock time of its last record (or -1)."""

    newest: int
    arrived: int
    marks: str = ""
    """The marks of the tasks that write the input: see `records.ReceivedMarks`."""
    time: int = -1
    """The last watermark that the steps of the task received."""
    begins: int | None = None
    """Of a history that has ended: where the topic after it begins, -1 for its beginning."""
    rows: int | None = None
    """Of a history: how many rows of the record at the committed offset have been processed."""

    def __str__(self) -> str:
        marks = f";p={self.marks}" if self.marks else ""
        time = f";w={self.time}" if self.time >= 0 else ""
        begins = "" if self.begins is None else f";h={self.begins}"
        rows = "" if self.rows is None else f";r={self.rows}"
        return f"n={self.newest};a={self.arrived}{time}{begins}{rows}{marks}"


NOTHING = InputProgress(-1, -1)


class Watermarks:
    """The watermark of one task."""

    def __init__(
        self,
        inputs: Mapping[TopicPartition, Watermark],
        seen: Mapping[TopicPartition, InputProgress],
        received: Mapping[TopicPartition, ReceivedMarks] | None = None,
    ) -> None:
        """Take the progress of all inputs, and the marks (`received`) of those that carry them."""
        self._inputs = dict(inputs)
        self._seen = {key: seen.get(key, NOTHING) for key in inputs}
        self._received = {key: by for key, by in (received or {}).items() if key in inputs}
        self._delays = {key: 0 if key in self._received else mark.bound for key, mark in inputs.items()}
        self._grain = min(watermark.grain for watermark in inputs.values())
        self._idle: set[TopicPartition] = {key for key, by in self._received.items() if by.idle}
        self.resumed = self.time = max((one.time for one in self._seen.values()), default=-1)
        """The last watermark of the steps before a restart; -1 if unknown."""
        if self.time < 0:
            self.time = max(-1, self._least(None))

    def seen(self) -> dict[TopicPartition, InputProgress]:
        """Return the progress of each input."""
        return {key: seen._replace(time=self.time) for key, seen in self._seen.items()}

    def cut(self, key: TopicPartition, records: Records, now: int) -> Iterator[tuple[Records, int | None]]:
        """Cut a run into slices, each with the watermark that the steps receive after it, if any."""
        if key not in self._inputs or key in self._received or not records:
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
                        self._seen[key] = InputProgress(newest, now)
                        self.time = time
                        yield records[begin:place], time
                        begin, edge = place, self._next_edge()
        self._seen[key] = InputProgress(last, now)
        if begin < len(records):
            yield records[begin:], None

    def after_marks(self, key: TopicPartition, now: int) -> int | None:
        """Return the watermark for the steps after new marks of an input, if it has advanced."""
        if key not in self._received:
            return None
        marks, seen = self._received[key], self._seen[key]
        if marks.time > seen.newest or not marks.idle:
            self._seen[key] = InputProgress(max(marks.time, seen.newest), now)
        (self._idle.add if marks.idle else self._idle.discard)(key)
        return self._on(self._time_at(now))

    @property
    def idle(self) -> bool:
        """Whether all inputs are idle."""
        return len(self._idle) == len(self._inputs)

    @property
    def newest(self) -> int:
        """The newest timestamp of all inputs."""
        return max(seen.newest for seen in self._seen.values())

    def quiet(self, now: int, at_end: Callable[[TopicPartition], bool]) -> int | None:
        """Return the watermark for the steps if it advances because inputs are idle."""
        for key, watermark in self._inputs.items():
            newest, arrived, *_ = self._seen[key]
            if arrived < 0:
                self._seen[key] = InputProgress(newest, now)
            elif key in self._received:
                continue
            elif not at_end(key):
                self._idle.discard(key)
            elif watermark.idle is not None and now - arrived >= watermark.idle:
                self._idle.add(key)
        return self._on(self._time_at(now))

    def settled(self) -> int | None:
        """Return the watermark for the steps if they are behind it, by less than a grain.

        They depend on the records only afterwards, and not on the order in which inputs were read.
        """
        time = -1 if self.idle else self._least(None)
        if time <= self.time:
            return None
        self.time = time
        return time

    def _on(self, time: int) -> int | None:
        """Advance to a time if it enters the next grain, and return it."""
        if time < self._next_edge():
            return None
        self.time = time
        return time

    def _time_at(self, now: int) -> int:
        return self._gone_on(now) if self.idle else self._least(None)

    def _gone_on(self, now: int) -> int:
        """Return the watermark while all inputs are idle."""
        reached = [self._seen[key].newest - delay for key, delay in self._delays.items() if self._seen[key].newest >= 0]
        if not reached:
            return -1
        return max(reached) + now - max(seen.arrived for seen in self._seen.values())

    def _least(self, but: TopicPartition | None) -> int:
        """Return the minimum over inputs that are not idle, without `but`; no limit if none is left."""
        return min(
            (
                self._seen[key].newest - delay if self._seen[key].newest >= 0 else -1
                for key, delay in self._delays.items()
                if key != but and key not in self._idle
            ),
            default=-1 if but is None else 1 << 62,
        )

    def _next_edge(self) -> int:
        """Return the time at which the steps receive the next watermark."""
        return (self.time // self._grain + 1) * self._grain if self.time >= 0 else 0


def seen_in(metadata: str) -> InputProgress:
    """Decode the progress of an input from the metadata of its offset."""
    fields: dict[str, str] = {}
    for part in metadata.split(";"):
        name, _, text = part.partition("=")
        fields[name] = text
    times = (int(text) if (text := fields.get(name, "")).isdecimal() else -1 for name in ("n", "a", "w"))
    newest, arrived, time = times
    begins = int(fields["h"]) if "h" in fields else None
    rows = int(fields["r"]) if "r" in fields else None
    return InputProgress(newest, arrived, fields.get("p", ""), time, begins, rows)
