"""The records that a policy has dropped: collected where they are dropped, and put into words for the log.

A program that skips records must not do so unheard: which ones, why, and how often. The log takes a few for each step
and minute, and the counts are in `tidemill_records_dropped_total` whatever is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..operators.errors import RecordError
from ..operators.time.durations import rough_duration
from .counters import summed

__all__ = ["DoubtLines", "LateLines", "SkipLines", "Skips"]

SHOWN: Final = 5
"""Records of a step that are told of in one interval."""
INTERVAL_MS: Final = 60_000
BACKLOG: Final = 1_000
"""Records that are not read yet."""


class Skips:
    """How many records were dropped, and those that the log was not told of yet, the first few of each step."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        """By step and reason."""
        self._found: dict[str, list[RecordError]] = {}

    def count(self, more: Mapping[tuple[str, str], int]) -> None:
        """Adds to the counts, which another thread may be reading: they are replaced."""
        self.counts = summed(self.counts, more)

    def add(self, step: str, reason: str, error: RecordError) -> None:
        """A record was dropped because of this error."""
        self.count({(step, reason): 1})
        of_step = self._found.setdefault(error.step, [])
        if len(of_step) <= SHOWN:  # one more than is shown, which tells that there were more
            of_step.append(error)

    def take(self) -> list[RecordError]:
        """What was added since the last call."""
        if not self._found:
            return []
        found = [error for errors in self._found.values() for error in errors]
        self._found = {}
        return found


class SkipLines:
    """What the log says of dropped records: at most `SHOWN` of a step in an interval, and that there were more."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, int]] = {}
        """By step: when its interval has begun, and how many were told of in it."""

    def lines(self, errors: list[RecordError], now: int) -> list[str]:
        """The lines for these records; `now` in ms."""
        found: list[str] = []
        for error in errors:
            began, count = self._told.get(error.step, (now, 0))
            if now - began >= INTERVAL_MS:
                began, count = now, 0
            self._told[error.step] = (began, count + 1)
            if count < SHOWN:
                task = "" if error.task is None else f" of task {error.task}"
                found.append(
                    f"step {error.step!r}{task} skipped a record that it could not {error.doing}: {error.reason} (the "
                    f"record: {error.place})"
                )
            elif count == SHOWN:
                found.append(
                    f"step {error.step!r} skips more records: they are counted (tidemill_records_dropped_total), and "
                    "the next ones are named in a minute"
                )
        return found


class LateLines:
    """What the log says of records that were late while there was a backlog: live they would hardly have been. Once a
    step."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def lines(
        self,
        dropped: Mapping[tuple[str, str], int],
        before: Mapping[tuple[str, str], int],
        behind: int,
        lateness: Mapping[str, int],
    ) -> list[str]:
        """The lines for what was dropped since `before`, while so many records of the inputs are not read yet.

        `lateness` is, by step, how far behind its time the latest of the records was, in ms.
        """
        found: list[str] = []
        for place, count in dropped.items() if behind >= BACKLOG else ():
            step, reason = place
            if reason == "late" and count > before.get(place, 0) and step not in self._told:
                self._told.add(step)
                how = f", up to {rough_duration(lateness[step])} behind its time," if step in lateness else ""
                found.append(
                    f"step {step!r} has dropped {count:,} records as late{how} while {behind:,} records of its inputs "
                    "are still to be read (more are counted in tidemill_records_dropped_total): a backlog is read in "
                    "another order than it came in. Give its sources watermark=tm.bounded(...) with a bound as long as "
                    "records are out of order within a partition, or the step more grace"
                )
        return found


class DoubtLines:
    """What the log says of times that seem to be in another unit: each once, the first of a step."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def lines(self, doubts: Mapping[str, str]) -> list[str]:
        """The lines for what is doubted, by step."""
        found: list[str] = []
        for step, doubt in doubts.items():
            if step not in self._told:
                self._told.add(step)
                found.append(f"step {step!r}: {doubt}")
        return found
