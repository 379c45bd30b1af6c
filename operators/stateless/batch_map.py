"""The batch map: calls a function with many values at a time, for models or vector code.

A batch is what has arrived, at most `max_size` records. With `max_wait`, a batch may wait to fill up: the records are
then in the step's store, so that a commit covers them. If a batch fails it is halved, repeatedly, until the record that
fails is alone; the records before it keep their results, those after it become a batch again.

Results of records that have waited carry the offset of the last record of their batch, which completed it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeAlias

from ...state.cache import StateCache
from ..errors import RecordError, TopologyError
from ..graph.operator import Operator
from ..record import Record
from ..serdes.base import Serde
from ..serdes.value_copies import Keeper
from .frames import results_list
from .pending import Pending

__all__ = ["BatchMap", "WaitingBatchMap"]

Records: TypeAlias = list[Record[Any, Any]]
Function: TypeAlias = Callable[[list[Any]], Any]


class BatchMap(Operator):
    """A batch map over the records of one run."""

    def __init__(self, step: str, function: Function, max_size: int) -> None:
        self._step = step
        self._function = function
        self._max_size = max_size

    def process(self, records: Records, now: int) -> Records:
        size = self._max_size
        done: Records = []
        for start in range(0, len(records), size):
            batch = records[start : start + size]
            results, error = results_of(self._step, self._function, [record.value for record in batch])
            done += renewed(batch, results)
            if error is not None:
                index = start + len(results)
                raise RecordError(self._step, index, records[index], done) from error
        return done


class WaitingBatchMap(Operator):
    """A batch map with batches that wait to fill up."""

    def __init__(
        self,
        step: str,
        cache: StateCache[int, Record[Any, Any]],
        function: Function,
        value: Serde[Any],
        max_size: int,
        max_wait: int,
    ) -> None:
        """Create the step; `value` is the serde of the waiting values."""
        self._step = step
        self._again = Keeper(value).again
        self._function = function
        self._max_size = max_size
        self._max_wait = max_wait
        self._pending = Pending(cache)
        self._came: dict[int, int] = {}
        """The arrival of each waiting record (from the store: when first seen), by wall clock."""

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest record that waits."""
        return self._pending.oldest_waiting()

    def process(self, records: Records, now: int) -> Records:
        for record in records:
            self._came[self._pending.add(record)] = now
        done: Records = []
        while len(self._pending) >= self._max_size:
            self._send(done, len(records) - 1)
        return done

    def tick(self, now: int) -> Records:
        done: Records = []
        while (oldest := next(iter(self._pending.records), None)) is not None:
            if now - self._came.setdefault(oldest, now) < self._max_wait:
                break
            self._send(done, 0)
        return done

    def _send(self, done: Records, index: int) -> None:
        """Add the results of the next batch to `done`.

        Raises RecordError for the first record that fails; the records after it wait. `index` is the index of the
        error: all records of the current list up to it have been accepted.
        """
        pending = self._pending
        numbers = list(islice(pending.records, self._max_size))
        batch = [pending.records[number] for number in numbers]
        values, unreadable = self._values(batch)
        results, error = results_of(self._step, self._function, values) if values else ([], None)
        error = error or unreadable
        for number in numbers[: len(results) + (error is not None)]:
            pending.remove(number)
            self._came.pop(number, None)
        done += renewed(batch, results, batch[-1].offset)
        if error is not None:
            raise RecordError(self._step, index, batch[len(results)], done) from error

    def _values(self, batch: Sequence[Record[Any, Any]]) -> tuple[list[Any], Exception | None]:
        """Return the values before the first one that cannot be copied, and its error."""
        values: list[Any] = []
        try:
            for record in batch:
                values.append(self._again(record.value))  # noqa: PERF401 - what was read before a failure counts
        except Exception as error:
            return values, error
        return values, None


def results_of(step: str, function: Function, values: list[Any]) -> tuple[list[Any], Exception | None]:
    """Return the results of the values before the first one that fails, and its error.

    Raises TopologyError if the function does not return one result per value: no record is the cause of that.
    """
    try:
        answer = function(values)
    except Exception as error:
        if len(values) == 1:
            return [], error
        middle = len(values) // 2
        left, failure = results_of(step, function, values[:middle])
        if failure is not None:
            return left, failure
        right, failure = results_of(step, function, values[middle:])
        return left + right, failure
    results = results_list(answer)
    if len(results) != len(values):
        raise TopologyError(
            f"step {step!r}: the function of .map_batch() returned {len(results)} results for {len(values)} values; it "
            "must return one for each, in order"
        )
    return results, None


def renewed(batch: Sequence[Record[Any, Any]], results: list[Any], offset: int | None = None) -> Records:
    """Return the first records of a batch with these values, and with this offset if given."""
    return [
        Record(record.key, result, record.timestamp, record.headers, record.offset if offset is None else offset)
        for record, result in zip(batch, results, strict=False)
    ]
