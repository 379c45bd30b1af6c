"""A `Processor` at work: time moves, timers that are due fire, then comes the record, then timers it set in the past.

What a record or a timer does to states and timers is taken back when it fails; that time has moved is not. A timer that
fails is removed, and those that were due with it fire next. Null keys are dropped and counted if the processor keeps
anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from types import GeneratorType
from typing import Any, TypeAlias, cast

from ..state.cache import StateCache
from .errors import RecordError
from .poison import cause_of, poison
from .processor import Context, Processor, Side
from .record import Record
from .serde import Serde
from .shelf import CLOCK, Journal, Shelf
from .states import State
from .timers import EVENT, WALL, Timer, Timers

__all__ = ["Processing", "Timing"]

Cache: TypeAlias = StateCache[Any, Any]
Records: TypeAlias = list[Record[Any, Any]]


class TimerFailed(Exception):
    """A timer's method failed, before or after the record with this offset was processed."""

    def __init__(self, timer: Timer, timestamp: int, offset: int, before_record: bool) -> None:
        super().__init__(timer, timestamp, offset, before_record)
        self.timer = timer
        self.timestamp = timestamp
        self.offset = offset
        self.before_record = before_record


class Processing:
    """A processor without timers."""

    def __init__(
        self,
        step: str,
        processor: Processor[Any, Any, Any],
        states: Mapping[str, tuple[State, Cache]],
        timers: Cache | None,
        key: Serde[Any],
        sides: Sequence[str],
    ) -> None:
        self._step = step
        self._processor = processor
        self._sides = {name: port for port, name in enumerate(sides, start=1)}
        self._journal = Journal()
        self._timers = None if timers is None else Timers(timers, self._journal)
        self._context: Context[Any] = Context(self._timers)
        self._clock = next((cache for _, cache in states.values()), timers)
        self._owed: int | None = None  # the offset of the record after which a timer failed: others may be due
        self._expiring: list[State] = []
        for name, (state, cache) in states.items():
            shelf = Shelf(cache, self._journal, self._context, key.encode, state.ttl)
            bound: State = state.bind(shelf)
            setattr(processor, name, bound)
            if state.ttl is not None:
                self._expiring.append(bound)
        self.drops = {"null key": 0}

    def process(self, records: Records, now: int) -> Any:
        """One list of records, or, with side outputs, one a port."""
        self._context.now = now
        ports: list[Records] = [[] for _ in range(len(self._sides) + 1)]
        rest = iter(records)
        try:
            if self._clock is None:
                for record in rest:
                    self._one(record, ports)
            else:
                self._keyed(rest, self._clock, ports)
        except TimerFailed as failed:
            index = len(records) - length_hint(rest) - 1 - failed.before_record
            raise self._timer_failure(failed, index, ports) from failed.__cause__
        except Exception as error:
            self._journal.undo()
            failure = poison(self._step, records, rest, self._done(ports))
            raise failure from error if self._clock is None else cause_of(failure, error)
        return self._done(ports)

    def _keyed(self, records: Iterator[Record[Any, Any]], clock: Cache, ports: list[Records]) -> None:
        began = time = clock[CLOCK] or 0
        context, notes, timers = self._context, self._journal.notes, self._timers
        context.move(time)
        try:
            if self._owed is not None:
                self._fire_after(time, self._owed, ports)
            for record in records:
                if record.key is None:
                    self.drops["null key"] += 1
                    continue
                if record.timestamp > time:
                    time = record.timestamp
                    context.move(time)
                    for state in self._expiring:
                        state.sweep(time)
                    notes.clear()
                if timers is not None:
                    self._fire(EVENT, time, record.offset, ports, before_record=True)
                self._one(record, ports)
                notes.clear()
                if timers is not None:
                    self._fire_after(time, record.offset, ports)
        finally:
            if time != began:
                clock.put(CLOCK, time)

    def _one(self, record: Record[Any, Any], ports: list[Records]) -> None:
        context = self._context
        context.key, context.timestamp = record.key, record.timestamp
        context.headers, context.offset = record.headers, record.offset
        self._send(self._processor.process(record.value, context), record, ports)

    def _send(self, results: Any, cause: Record[Any, Any], ports: list[Records]) -> None:
        """Sends what the user's method gave, all or, when it fails, nothing."""
        if results is None:
            return
        if type(results) is not GeneratorType:
            check_results(results)
        made = [self._routed(item) for item in cast("Iterable[Any]", results)]
        for port, item in made:
            if port is not None:
                ports[port].append(Record(cause.key, item, cause.timestamp, cause.headers, cause.offset))

    def _routed(self, item: Any) -> tuple[int | None, Any]:
        """The port of a result (None when nobody reads it), and its value."""
        if type(item) is not Side:
            return 0, item
        sent: Side[Any] = item
        port = self._sides.get(sent.name)
        if port is None:
            reason = f"side output {sent.name!r} is not read"
            self.drops[reason] = self.drops.get(reason, 0) + 1
        return port, sent.value

    def _done(self, ports: list[Records]) -> Any:
        return ports if self._sides else ports[0]

    def _timer_failure(self, failed: TimerFailed, index: int, ports: list[Records]) -> RecordError:
        timer = failed.timer
        record = Record(timer.key, timer.name, failed.timestamp, (), failed.offset)
        return RecordError(self._step, index, record, self._done(ports), doing=f"fire timer {timer.name!r} for")

    def _fire_after(self, time: int, offset: int, ports: list[Records]) -> None:
        """Fires what is due after a record, such as a timer it has set in the past."""
        self._owed = offset
        self._fire(EVENT, time, offset, ports)
        self._owed = None

    def _fire(self, kind: int, until: int, offset: int, ports: list[Records], *, before_record: bool = False) -> None:
        timers, context = self._timers, self._context
        assert timers is not None
        while (timer := timers.first(kind, until)) is not None:
            timestamp = timer.due if kind == EVENT else context.stream_time
            cause = Record(timer.key, None, timestamp, (), offset)
            context.key, context.timestamp, context.headers, context.offset = timer.key, timestamp, (), offset
            timers.remove(timer)
            timers.firing = timer
            try:
                self._send(self._processor.on_timer(timer.name, context), cause, ports)
            except Exception as error:
                self._journal.undo()
                timers.remove(timer)
                raise TimerFailed(timer, timestamp, offset, before_record) from error
            finally:
                timers.firing = None
                self._journal.notes.clear()


class Timing(Processing):
    """A processor with timers."""

    def tick(self, now: int) -> Any:
        """Fires the timers that are due by the wall clock."""
        self._context.now = now
        ports: list[Records] = [[] for _ in range(len(self._sides) + 1)]
        assert self._clock is not None
        self._context.move(self._clock[CLOCK] or 0)
        try:
            self._fire(WALL, now, -1, ports)
        except TimerFailed as failed:
            raise self._timer_failure(failed, -1, ports) from failed.__cause__
        return self._done(ports)


def check_results(results: object) -> None:
    """Raises TypeError unless these are several results."""
    if not isinstance(results, (list, tuple, Iterator)):
        raise TypeError(f"process() yields its results or returns a list of them, not {results!r}")
