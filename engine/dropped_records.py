"""Records that a policy has dropped, collected for the log.

A program must not skip records silently: the log shows which ones, why, and how often. It shows a few per step and
minute, and `tidemill_records_dropped_total` counts them whatever is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..operators.errors import RecordError
from ..operators.time.durations import rough_duration
from .counters import summed

__all__ = ["DoubtLines", "LateLines", "SkipLines", "SkippedRecords"]

SHOWN: Final = 5
"""Records of a step that are logged in one interval."""
INTERVAL_MS: Final = 60_000
BACKLOG: Final = 1_000
"""Unread records that count as a backlog."""


class SkippedRecords:
    """The number of dropped records, and the first few of each step that are not logged yet."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        """Records by step and reason."""
        self._found: dict[str, list[RecordError]] = {}

    def count(self, more: Mapping[tuple[str, str], int]) -> None:
        """Add to the counts, which are replaced because another thread may be reading them."""
        self.counts = summed(self.counts, more)

    def add(self, step: str, reason: str, error: RecordError) -> None:
        """Count a record that was dropped because of this error."""
        self.count({(step, reason): 1})
        of_step = self._found.setdefault(error.step, [])
        if len(of_step) <= SHOWN:  # one more than is shown, to note that there were more
            of_step.append(error)

    def take(self) -> list[RecordError]:
        """Return the errors that were added since the last call."""
        if not self._found:
            return []
        found = [error for errors in self._found.values() for error in errors]
        self._found = {}
        return found


class SkipLines:
    """Log lines for dropped records: at most `SHOWN` per step and interval, and a note of more."""

    def __init__(self) -> None:
        self._logged: dict[str, tuple[int, int]] = {}
        """By step: when its interval began, and how many records were logged in it."""

    def lines(self, errors: list[RecordError], now: int) -> list[str]:
        """Return the lines for these records; `now` in ms."""
        found: list[str] = []
        for error in errors:
            began, count = self._logged.get(error.step, (now, 0))
            if now - began >= INTERVAL_MS:
                began, count = now, 0
            self._logged[error.step] = (began, count + 1)
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
    """Log lines for records that were late while there was a backlog, once per step.

    Without a backlog they would hardly have been late.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def lines(
        self,
        dropped: Mapping[tuple[str, str], int],
        before: Mapping[tuple[str, str], int],
        behind: int,
        lateness: Mapping[str, int],
    ) -> list[str]:
        """Return the lines for records dropped since `before`.

        `behind` is the number of unread input records, `lateness` is how far the latest record was behind its step's
        time in ms, by step.
        """
        found: list[str] = []
        for place, count in dropped.items() if behind >= BACKLOG else ():
            step, reason = place
            if reason == "late" and count > before.get(place, 0) and step not in self._logged:
                self._logged.add(step)
                how = f", up to {rough_duration(lateness[step])} behind its time," if step in lateness else ""
                found.append(
                    f"step {step!r} has dropped {count:,} records as late{how} while {behind:,} records of its inputs "
                    "are still to be read (more are counted in tidemill_records_dropped_total): a backlog is read in "
                    "another order than it was written. Give its sources watermark=tm.bounded(...) with a bound as "
                    "long as records are out of order within a partition, or the step more grace"
                )
        return found


class DoubtLines:
    """Log lines for timestamps that seem to be in another unit, only the first per step."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def lines(self, doubts: Mapping[str, str]) -> list[str]:
        """Return the lines for these warnings, by step."""
        found: list[str] = []
        for step, doubt in doubts.items():
            if step not in self._logged:
                self._logged.add(step)
                found.append(f"step {step!r}: {doubt}")
        return found
