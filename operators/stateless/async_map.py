"""Calls a coroutine function for each record, many at a time.

Records wait in the step's store until their results are sent: a commit in between covers them as what they are, not
done. `process` takes records in, `collect` sends the results of those that are done; ordered results wait for those
before them. Rebuilt, the step calls again for all that wait.

    process -> waiting -> called (at most `in_flight`) -> answered -> collect
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias

from ...state.cache import StateCache
from ..errors import RecordError
from ..graph.calls import Answer, Call, CallOptions, Calls, Line
from ..graph.operator import Operator
from ..record import Record
from ..serdes.base import Serde
from ..serdes.value_copies import Keeper
from .pending import Pending

__all__ = ["AsyncMap"]

Records: TypeAlias = list[Record[Any, Any]]


class AsyncMap(Operator):
    """A step that waits for others."""

    def __init__(
        self,
        step: str,
        cache: StateCache[int, Record[Any, Any]],
        function: Callable[[Any], Any],
        value: Serde[Any],
        options: CallOptions,
        *,
        in_flight: int,
        ordered: bool,
    ) -> None:
        """`value` is the serde of the values that wait."""
        self._step = step
        self._again = Keeper(value).again
        self._function = function
        self._options = options
        self._in_flight = in_flight
        self._ordered = ordered
        self._pending = Pending(cache)
        self._uncalled = deque(self._pending.records)
        self._under_way = 0
        self._answered: dict[int, Answer] = {}
        self._line: Line | None = None

    def attach(self, calls: Calls) -> None:
        """Says who makes the calls."""
        self._line = calls.line(self._function, self._options)
        self._call()

    @property
    def waiting(self) -> int:
        """How many records wait for their results to be sent."""
        return len(self._pending)

    @property
    def room(self) -> int:
        """How many records more it makes sense to take in."""
        return 2 * self._in_flight - len(self._pending)

    def oldest_waiting(self) -> int | None:
        """The event time of the oldest record that waits."""
        return self._pending.oldest_waiting()

    def process(self, records: Records, now: int) -> Records:
        add, uncalled = self._pending.add, self._uncalled
        for record in records:
            uncalled.append(add(record))
        self._call()
        return []

    def collect(self, now: int, limit: int | None = None) -> Records:
        """The results there are, at most `limit`. Raises RecordError for a call that failed, when it is its turn."""
        answered = self._answered
        answers = self._working().answers()
        self._under_way -= len(answers)
        for answer in answers:
            answered[answer.number] = answer
        self._call()
        pending = self._pending
        done: Records = []
        for number in list(islice(pending.records if self._ordered else answered, limit)):
            answer = answered.pop(number, None)
            if answer is None:
                break
            record = pending.remove(number)
            if answer.error is not None:
                raise RecordError(self._step, 0, record, done) from answer.error
            done.append(Record(record.key, answer.value, record.timestamp, record.headers, record.offset))
        return done

    def close(self) -> None:
        """Cancels the calls under way. Their records wait in the store."""
        self._working().close()

    def _call(self) -> None:
        uncalled, records = self._uncalled, self._pending.records
        free = min(self._in_flight - self._under_way, len(uncalled))
        if free > 0:
            calls: list[Call] = []
            for number in [uncalled.popleft() for _ in range(free)]:
                try:
                    calls.append(Call(number, self._again(records[number].value)))
                except Exception as error:
                    self._answered[number] = Answer(number, None, error)
            self._under_way += len(calls)
            self._working().start(calls)

    def _working(self) -> Line:
        assert self._line is not None, "nobody makes the calls of this step"
        return self._line
