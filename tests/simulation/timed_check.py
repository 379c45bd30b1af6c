"""Check the programs in `timed.py`: at the end, their results are those of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tidemill as tm
from tidemill.engine.ids import TaskId
from tidemill.engine.restore.opening import Ready
from tidemill.engine.watermarks.records import is_mark
from tidemill.state.store import Store

from .check import Check
from .process import Process
from .timed import IDLE_MS, Input, Result, read

__all__ = ["TELLING_MS", "TimedCheck"]

TELLING_MS = 500
"""The time in which tasks have sent each other their watermarks."""
SLOWLY, MOST = 8, 14
"""The maximum number of times that clocks are advanced until everything is closed."""


class TimedCheck(Check):
    """Checks results that depend on event time. Stores are not checked: their contents depend on the watermark."""

    def opened(self, ready: Ready) -> list[str]:
        return []

    def remember(self) -> None:
        """Do nothing: deleted records of repartition topics are not needed."""

    def offsets_reached(self) -> bool:
        group, plan = self._broker.group, self._plan
        inputs = {key for task in plan.tasks() for key in plan.subtopology(task).task_inputs(task.partition)}
        return all(group.offsets.get(key, (-1, ""))[0] >= self._broker.partition(key).end for key in inputs)

    def results(self, stores: Mapping[TaskId, Mapping[str, Store]]) -> list[str]:
        self._done = True
        return self.wrong()

    def rounds(self) -> Iterator[int]:
        """Yield 1, 2, 3 and so on, until all windows have been closed."""
        for number in range(1, MOST + 1):
            if not self.wrong():
                return
            yield number

    @staticmethod
    def let_time_pass(processes: Iterable[Process], number: int) -> None:
        """Advance all clocks, first until inputs are idle, and then a little further each time.

        At the end far enough for inputs without a record since a process was restarted.
        """
        for process in processes:
            process.clock.skew = IDLE_MS + 25_000 * number if number <= SLOWLY else 2 * IDLE_MS * (number - SLOWLY + 1)

    def wrong(self) -> list[str]:
        """Return the differences from the results of a batch."""
        inputs = [
            Input(topic, tm.int64.decode(entry.value or b""), entry.timestamp)
            for topic in self._program.inputs
            for number in range(len(self._broker.topics[topic]))
            for entry in self._committed((topic, number))
        ]
        found: list[str] = []
        for result in self._program.results:
            came, wanted = Counter(self._rows(result)), Counter(result.model(inputs))
            if came != wanted:
                found.append(f"{result.topic}: lacks {sorted_rows(wanted - came)}, has {sorted_rows(came - wanted)}")
        return found

    def _rows(self, result: Result) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        newest: dict[Any, tuple[Any, ...]] = {}
        for number in range(len(self._broker.topics[result.topic])):
            for entry in self._committed((result.topic, number)):
                assert not is_mark(entry.key, entry.value, entry.headers)
                key, row = read(result, entry.key, entry.value, entry.timestamp)
                rows.append(row)
                newest[key] = row
        return list(newest.values()) if result.upserts else rows


def sorted_rows(rows: Counter[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows.elements(), key=repr)
