"""The progress of restores in a file of the state directory, which `tidemill status` reads.

It is written about once a second while tasks are restored, and never waited for: a file that cannot be written is
missing from the status, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from ...state.directory import scratch_in
from ..clock import Clock
from ..ids import TaskId
from .opening import Progress

__all__ = ["NAME", "ProgressFile", "RestoringTask", "read_progress"]

NAME = "progress"
EVERY_MS = 1_000
STALE_MS = 15_000
"""A file that is older than this is of a process that has ended, or hangs."""


class RestoringTask(msgspec.Struct, frozen=True):
    """A task that is being restored, with its average rates so far."""

    task: str
    records_done: int
    records: int
    """In total; more may be found after a snapshot has been downloaded."""
    records_per_second: float
    bytes_left: int
    """Of a snapshot that is being downloaded."""
    bytes_per_second: float

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None while there is no rate."""
        rest = ((self.bytes_left, self.bytes_per_second), (self.records - self.records_done, self.records_per_second))
        if any(left and rate <= 0 for left, rate in rest):
            return None
        return sum(left / rate for left, rate in rest if left)

    def line(self) -> str:
        """Return the progress in words."""
        parts: list[str] = []
        if self.bytes_left:
            parts += [f"{self.bytes_left:,} bytes of its snapshot to go", *_rate(self.bytes_per_second)]
        if self.records or not parts:
            done = f"{self.records_done:,} of {self.records:,} changelog records"
            parts += [done, *_rate(self.records_per_second)]
        left = self.seconds_left
        return ", ".join(parts) + ("" if left is None else f", about {left:,.0f} s to go")


def _rate(per_second: float) -> list[str]:
    return [f"{per_second:,.0f}/s"] if per_second > 0 else []


class ShownProgress(msgspec.Struct, frozen=True):
    """The content of the file."""

    at: int
    tasks: list[RestoringTask]


class RestoreStart(msgspec.Struct, frozen=True):
    """Where a restore, or the download before it, was when it was first seen."""

    at: int
    done: int
    bytes_left: int


class ProgressFile:
    """The file of one process, for its recovery thread."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._starts: dict[TaskId, RestoreStart] = {}
        self._written: int | None = None

    def update(self, progress: Iterable[Progress]) -> None:
        """Write the progress if the last one is old; remove the file when there is none."""
        progress = list(progress)
        now = self._clock.monotonic()
        if not progress:
            self._starts.clear()
            if self._written is not None:
                self._written = None
                with suppress(OSError):
                    self._path.unlink()
            return
        if self._written is not None and now - self._written < EVERY_MS:
            return
        self._written = now
        self._starts = {one.task: self._start(one, now) for one in progress}
        content = ShownProgress(self._clock.now(), [self._task(one, now) for one in progress])
        with suppress(OSError):
            new = self._path.with_name(f"{self._path.name}.new")
            new.write_bytes(msgspec.json.encode(content))
            new.replace(self._path)

    def _start(self, one: Progress, now: int) -> RestoreStart:
        known = self._starts.get(one.task)
        if known is None or one.bytes_left > known.bytes_left or one.done < known.done:
            return RestoreStart(now, one.done, one.bytes_left)
        if known.bytes_left and not one.bytes_left:  # the replay begins, with a rate of its own
            return RestoreStart(now, one.done, 0)
        return known

    def _task(self, one: Progress, now: int) -> RestoringTask:
        start = self._starts[one.task]
        seconds = max(now - start.at, 1) / 1000
        return RestoringTask(
            str(one.task),
            one.done,
            one.to_do,
            (one.done - start.done) / seconds,
            one.bytes_left,
            (start.bytes_left - one.bytes_left) / seconds,
        )


def read_progress(directory: Path, now: int) -> list[RestoringTask]:
    """Return what the process with this state directory restores at the moment.

    `now` is in ms since 1970.
    """
    try:
        found = msgspec.json.decode(scratch_in(directory, NAME).read_bytes(), type=ShownProgress)
    except (OSError, msgspec.DecodeError):
        return []
    return found.tasks if now - found.at < STALE_MS else []
