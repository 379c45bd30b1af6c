"""The async map: calls a coroutine function per record, many concurrently.

Records wait in the step's store until their results are sent, so a commit covers them as unfinished. `process` accepts
records, `collect` sends the results of ended calls; with `ordered`, results wait for those before them. After it is
rebuilt, the step calls the function again for all waiting records.

    process -> waiting -> called (at most `in_flight`) -> answered -> collect
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias

from ...state.cache import StateCache
from ..errors import RecordError
from ..graph.calls import AsyncCall, AsyncCallOptions, CallExecutor, CallResult, StepCalls
from ..graph.operator import Operator
from ..record import Record
from ..serdes.base import Serde
from ..serdes.value_copies import Keeper
from .pending import Pending

__all__ = ["AsyncMap"]

Records: TypeAlias = list[Record[Any, Any]]


class AsyncMap(Operator):
    """A step that calls a coroutine function per record."""

    def __init__(
        self,
        step: str,
        cache: StateCache[int, Record[Any, Any]],
        function: Callable[[Any], Any],
        value: Serde[Any],
        options: AsyncCallOptions,
        *,
        in_flight: int,
        ordered: bool,
    ) -> None:
        """Create the step; `value` is the serde of the waiting values."""
        self._step = step
        self._again = Keeper(value).again
        self._function = function
        self._options = options
        self._in_flight = in_flight
        self._ordered = ordered
        self._pending = Pending(cache)
        self._uncalled = deque(self._pending.records)
        self._under_way = 0
        self._answered: dict[int, CallResult] = {}
        self._line: StepCalls | None = None

    def attach(self, calls: CallExecutor) -> None:
        """Receive the executor of the calls, and call the function for the waiting records."""
        self._line = calls.line(self._step, self._function, self._options)
        self._call()

    @property
    def waiting(self) -> int:
        """The number of records that wait for their results to be sent."""
        return len(self._pending)

    @property
    def room(self) -> int:
        """The number of records that `process` should receive now."""
        return 2 * self._in_flight - len(self._pending)

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest record that waits."""
        return self._pending.oldest_waiting()

    def process(self, records: Records, now: int) -> Records:
        add, uncalled = self._pending.add, self._uncalled
        for record in records:
            uncalled.append(add(record))
        self._call()
        return []

    def collect(self, now: int, limit: int | None = None) -> Records:
        """Return at most `limit` results that are ready; raise RecordError for a failed call."""
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
        """Cancel the calls under way; their records wait in the store."""
        self._working().close()

    def _call(self) -> None:
        uncalled, records = self._uncalled, self._pending.records
        free = min(self._in_flight - self._under_way, len(uncalled))
        if free > 0:
            calls: list[AsyncCall] = []
            for number in [uncalled.popleft() for _ in range(free)]:
                try:
                    calls.append(AsyncCall(number, self._again(records[number].value)))
                except Exception as error:
                    self._answered[number] = CallResult(number, None, error)
            self._under_way += len(calls)
            self._working().start(calls)

    def _working(self) -> StepCalls:
        assert self._line is not None, "this step has no call executor"
        return self._line
