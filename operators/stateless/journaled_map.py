"""The journaled map: an async map that commits the result of each call before it is used.

A record waits in the step's store with the key of its call. The call is made after a commit has the record, so its key
stays the same however often it is made; the result is sent after a commit has the result, so it is never asked for
again. That is the journal of durable execution, as in Restate
(https://docs.restate.dev/concepts/durable_execution) and DBOS.

    process -> waiting -> committed -> called (at most `in_flight`) -> answered -> committed -> collect

A failed call leaves no result: its record goes the way of the step's error policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from ...state.cache import StateCache
from ..errors import RecordError
from ..graph.calls import AsyncCall, AsyncCallOptions, CallExecutor, CallResult, StepCalls
from ..graph.operator import Operator
from ..record import Record
from ..serdes.base import Serde
from ..serdes.value_copies import Keeper
from .journal import JournalEntry

__all__ = ["JournaledMap"]

Records: TypeAlias = list[Record[Any, Any]]


class JournaledMap(Operator):
    """A step that calls a coroutine function per record and journals its results."""

    def __init__(
        self,
        step: str,
        cache: StateCache[int, JournalEntry],
        function: Callable[..., Any],
        value: Serde[Any],
        result: Serde[Any],
        options: AsyncCallOptions,
        *,
        in_flight: int,
        ordered: bool,
    ) -> None:
        """Create the step; `value` is the serde of the waiting values, `result` that of the results."""
        self._step = step
        self._cache = cache
        self._again = Keeper(value).again
        self._result = result
        self._function = function
        self._options = options
        self._in_flight = in_flight
        self._ordered = ordered
        self._entries: dict[int, JournalEntry] = dict(cache.scan(b"", None))
        cache.found(entry.record.key for entry in self._entries.values())
        self._next = next(reversed(self._entries), -1) + 1
        self._uncalled = deque(number for number, entry in self._entries.items() if entry.result is None)
        self._ready = {number: None for number, entry in self._entries.items() if entry.result is not None}
        """The records that have a result or have failed, in the order in which their calls ended."""
        self._failed: dict[int, BaseException] = {}
        self._under_way = 0
        self._line: StepCalls | None = None

    def attach(self, calls: CallExecutor) -> None:
        """Receive the executor of the calls, and call the function for the records without a result."""
        self._line = calls.line(self._step, self._function, self._options)
        self._call()

    @property
    def waiting(self) -> int:
        """The number of records that wait for their results to be sent."""
        return len(self._entries)

    @property
    def room(self) -> int:
        """The number of records that `process` should receive now."""
        return 2 * self._in_flight - len(self._entries)

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest record that waits."""
        return min((entry.record.timestamp for entry in self._entries.values()), default=None)

    def process(self, records: Records, now: int) -> Records:
        prefix = self._working().prefix
        for record in records:
            number = self._next
            self._next += 1
            self._write(number, JournalEntry(record, f"{prefix}-{number}"))
            self._uncalled.append(number)
        return []

    def collect(self, now: int, limit: int | None = None) -> Records:
        """Return at most `limit` results that a commit has; raise RecordError for a failed call."""
        for answer in self._working().answers():
            self._answered(answer)
        self._call()
        done: Records = []
        for number in list(self._entries if self._ordered else self._ready):
            if len(done) == limit or (self._ordered and not self._settled(number)):
                break
            if not self._settled(number):
                continue
            entry = self._entries.pop(number)
            self._ready.pop(number)
            self._cache.delete(number)
            record = entry.record
            if (failure := self._failed.pop(number, None)) is not None:
                raise RecordError(self._step, 0, record, done) from failure
            assert entry.result is not None, "only records with a result are settled"
            [raw] = entry.result
            value = None if raw is None else self._result.decode(raw)
            done.append(Record(record.key, value, record.timestamp, record.headers, record.offset))
        return done

    def close(self) -> None:
        """Cancel the calls under way; their records wait in the store."""
        self._working().close()

    def _settled(self, number: int) -> bool:
        """Return whether a call has failed, or has a result that a commit has."""
        return number in self._ready and (number in self._failed or number not in self._cache.dirty)

    def _answered(self, answer: CallResult) -> None:
        number = answer.number
        self._under_way -= 1
        self._ready[number] = None
        if answer.error is not None:
            self._failed[number] = answer.error
            return
        try:
            raw = None if answer.value is None else self._result.encode(answer.value)
            if raw is not None:
                self._result.decode(raw)
        except Exception as error:
            self._failed[number] = error
        else:
            self._write(number, msgspec.structs.replace(self._entries[number], result=(raw,)))

    def _write(self, number: int, entry: JournalEntry) -> None:
        self._entries[number] = entry
        self._cache.put(number, entry)

    def _call(self) -> None:
        """Start the calls of records that a commit has."""
        calls = list(self._next_calls())
        if calls:
            self._under_way += len(calls)
            self._working().start(calls)

    def _next_calls(self) -> Iterable[AsyncCall]:
        uncalled, dirty = self._uncalled, self._cache.dirty
        free = self._in_flight - self._under_way
        while free > 0 and uncalled and uncalled[0] not in dirty:
            number = uncalled.popleft()
            entry = self._entries[number]
            try:
                value = self._again(entry.record.value)
            except Exception as error:
                self._ready[number] = None
                self._failed[number] = error
            else:
                free -= 1
                yield AsyncCall(number, value, entry.call)

    def _working(self) -> StepCalls:
        assert self._line is not None, "this step has no call executor"
        return self._line
