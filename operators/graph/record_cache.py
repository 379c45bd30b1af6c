"""`RecordCache`: the results of a step, of which the last one per key is sent at the commit.

What Kafka Streams' record cache does for a materialized table, with one difference: nothing but the commit sends
results, so what is sent does not depend on the size of a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from ..errors import RecordError
from ..record import Record, Update
from .calls import CallExecutor
from .operator import Operator, OptionalCall

__all__ = ["RecordCache"]

Records = list[Record[Any, Any]]
timestamp_of = attrgetter("timestamp")


class RecordCache(Operator):
    """An operator whose results on its first port wait for the commit.

    It is empty after each commit, so nothing that waits has to survive a restart.
    """

    def __init__(
        self,
        operator: Operator,
        ports: int,
        identity: Callable[[Any], Any] | None,
        *,
        updates_in: bool,
        updates_out: bool,
    ) -> None:
        """Hold the results of `operator`, which has `ports` outputs.

        `identity` returns what tells two keys apart, None if keys that are equal have the same bytes. With `updates_in`
        the results carry `Update` values, and a row that began and ended since the last commit is never sent. With
        `updates_out` what is sent carries them too.
        """
        self._operator = operator
        self._ports = ports
        self._identity = identity
        self._updates_in = updates_in
        self._updates_out = updates_out
        self._results: dict[Any, Record[Any, Any]] = {}
        """By key, in the order of the last change."""
        self._oldest: int | None = None

    def process(self, records: list[Any], now: int) -> Any:
        """Process the records, and hold the results."""
        return self._called(lambda: self._operator.process(records, now))

    def handles(self, call: OptionalCall) -> bool:
        """Return whether the graph should make a call."""
        return call in ("oldest_waiting", "before_commit") or self._operator.handles(call)

    def tick(self, now: int) -> Any:
        """Call the operator, and hold the results."""
        return self._called(lambda: self._operator.tick(now))

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Call the operator, and hold the results."""
        return self._called(lambda: self._operator.advance(time, offset, now))

    def before_commit(self, now: int) -> Any:
        """Return the last result per key, in the order of the last change."""
        results = list(self._results.values())
        self._results.clear()
        self._oldest = None
        if self._updates_in and not self._updates_out:
            results = [Record(r.key, r.value.new, r.timestamp, r.headers, r.offset) for r in results]
        return results if self._ports == 1 else [results, *([] for _ in range(self._ports - 1))]

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest result since the last commit."""
        inner = self._operator.oldest_waiting() if self._operator.handles("oldest_waiting") else None
        return min((time for time in (inner, self._oldest) if time is not None), default=None)

    def attach(self, calls: CallExecutor) -> None:
        self._operator.attach(calls)

    def placed(self, partition: int) -> None:
        self._operator.placed(partition)

    @property
    def drops(self) -> dict[str, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The operator's number of dropped records, by reason."""
        return self._operator.drops

    @property
    def lateness(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The operator's lateness."""
        return self._operator.lateness

    def _called(self, call: Callable[[], Any]) -> Any:
        try:
            return self._held(call())
        except RecordError as error:
            error.done = self._held(error.done)
            raise

    def _held(self, results: Any) -> Any:
        """Hold the results of the first port; return the others in the same form."""
        if self._ports == 1:
            self._hold(results)
            return []
        if results:
            self._hold(results[0])
            return [[], *results[1:]]
        return results

    def _hold(self, records: Records) -> None:
        if not records:
            return
        oldest = min(map(timestamp_of, records))
        if self._oldest is None or oldest < self._oldest:
            self._oldest = oldest
        if self._updates_in:
            self._merge(records)
            return
        results, identity, take_out = self._results, self._identity, self._results.pop
        for record in records:
            key = record.key if identity is None else identity(record.key)
            take_out(key, None)
            results[key] = record

    def _merge(self, records: Records) -> None:
        """Hold updates: the oldest row of each key becomes the newest."""
        results, identity = self._results, self._identity
        for record in records:
            key = record.key if identity is None else identity(record.key)
            earlier = results.pop(key, None)
            if earlier is not None and self._updates_out and record.value.old is None is not earlier.value.new:
                results[object()] = earlier  # the step has forgotten the row, and this one is new for its readers
                earlier = None
            old, new = record.value.old if earlier is None else earlier.value.old, record.value.new
            if old is None and new is None:
                continue  # no reader has seen the row
            if earlier is not None:
                record = Record(record.key, Update(old, new), record.timestamp, record.headers, record.offset)
            results[key] = record
