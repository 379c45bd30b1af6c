"""A `Processor` at work: time moves, timers that are due fire, then comes the record, then what is due after it.

After a record come the timers that it set in the past, and the methods that are called every so often. What a call does
to states and timers is taken back when it fails; that time has moved is not. A timer or method that fails has had its
turn, and those that were due with it are next. Null keys are dropped and counted if the processor keeps anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from types import GeneratorType
from typing import Any, Final, TypeAlias, cast

from ...state.cache import StateCache
from ..errors import RecordError, cause_of, poison
from ..graph.operator import Operator
from ..graph.output_checks import given_record
from ..record import Record
from ..serdes.base import Serde
from ..stores.expiring import CLOCK, NO_KEY, Journal, Shelf
from ..time.every import Every
from .processor import Context, Processor, Side
from .schedule import Schedule
from .states import State
from .timers import EVENT, WALL, Timers

__all__ = ["Processing", "Timing"]

Cache: TypeAlias = StateCache[Any, Any]
Records: TypeAlias = list[Record[Any, Any]]


RECORD_YIELDED: Final = (
    "process() yields values, not records: yield the value alone, and change keys and times by .map_record() behind it"
)


class CallFailed(Exception):
    """A timer's method or a recurring one failed, before or after the record at hand was processed."""

    def __init__(self, doing: str, key: Any, name: str, timestamp: int, offset: int, before_record: bool) -> None:
        super().__init__(doing, key, name, timestamp, offset, before_record)
        self.doing = doing
        self.record = Record(key, name, timestamp, (), offset)
        self.before_record = before_record


class Processing(Operator):
    """A processor without timers."""

    def __init__(
        self,
        step: str,
        processor: Processor[Any, Any, Any],
        states: Mapping[str, tuple[State, Cache]],
        timers: Cache | None,
        key: Serde[Any],
        sides: Sequence[str],
        has_timers: bool = False,
        recurring: Mapping[str, Every] | None = None,
        watermarked: bool = False,
    ) -> None:
        self._step = step
        self._watermarked = watermarked
        self._processor = processor
        self._sides = {name: port for port, name in enumerate(sides, start=1)}
        self._journal = Journal()
        self._timers = Timers(timers, self._journal) if timers is not None and has_timers else None
        self._by_stream = Schedule(timers, "stream", recurring or {})
        self._by_wall = Schedule(timers, "wall", recurring or {})
        self._acts_after = self._timers is not None or bool(self._by_stream)
        self._context: Context[Any] = Context(self._timers)
        if timers is not None and recurring:
            timers.by_bytes()
        self._clock = next((cache for _, cache in states.values()), timers)
        self._told = True  # stream time is known: not before the first watermark, where these tell it
        self._owed: int | None = None  # the offset of the record after which a call failed: others may be due
        self._expiring: list[State] = []
        self.drops = {"null key": 0}
        for name, (state, cache) in states.items():
            if recurring:
                cache.by_bytes()  # the method may use any key
            shelf = Shelf(cache, self._journal, self._context, key.encode, state.ttl, self.drops)
            bound: State = state.bind(shelf, watermarked=watermarked)
            setattr(processor, name, bound)
            if state.expires(watermarked=watermarked):
                self._expiring.append(bound)

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
        except CallFailed as failed:
            index = len(records) - length_hint(rest) - 1 - failed.before_record
            raise self._call_failure(failed, index, ports) from failed.__cause__
        except Exception as error:
            self._journal.undo()
            failure = poison(self._step, records, rest, self._done(ports))
            raise failure from error if self._clock is None else cause_of(failure, error)
        return self._done(ports)

    def _keyed(self, records: Iterator[Record[Any, Any]], clock: Cache, ports: list[Records]) -> None:
        context, notes, timers, watermarked = self._context, self._journal.notes, self._timers, self._watermarked
        began = self._begin(clock)
        time = context.stream_time
        newest = context.state_time
        try:
            if self._owed is not None:
                self._act_after(time, self._owed, ports)
            for record in records:
                if record.key is None:
                    self.drops["null key"] += 1
                    continue
                timestamp = record.timestamp
                if timestamp > time and not watermarked:
                    if timers is not None:
                        self._move(time, timestamp, record.offset, ports, before_record=True)
                    context.move(timestamp)
                    time = timestamp
                    for state in self._expiring:
                        state.sweep(time)
                    notes.clear()
                elif timers is not None:
                    self._fire(EVENT, time, record.offset, ports, before_record=True)
                if watermarked:
                    newest = max(newest, timestamp)
                    context.state_time = max(time, timestamp)
                self._one(record, ports)
                notes.clear()
                if self._acts_after:
                    self._act_after(time, record.offset, ports)
        finally:
            kept = -1 - newest if watermarked and began < 0 else time
            if kept != began:
                clock.put(CLOCK, kept)

    def _begin(self, clock: Cache) -> int:
        """Takes up the time as it is kept; gives what is kept.

        That is stream time, or, where watermarks tell the time and none has yet, -1 less the time of the newest record.
        """
        kept: int | None = clock[CLOCK]
        if kept is None:
            kept = -1 if self._watermarked else 0
        self._told = kept >= 0
        self._context.move(max(kept, 0))
        self._context.state_time = kept if kept >= 0 else -1 - kept
        return kept

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Moves stream time, and calls what is due by it."""
        ports: list[Records] = [[] for _ in range(len(self._sides) + 1)]
        clock = self._clock
        if clock is None:
            return self._done(ports)
        self._context.now = now
        self._begin(clock)
        before = self._context.stream_time
        try:
            if time > before and (offset >= 0 or self._acts_by(time)):
                if self._timers is not None:
                    self._move(before, time, offset, ports)
                clock.put(CLOCK, time)
                self._begin(clock)
                for state in self._expiring:
                    state.sweep(time)
                self._journal.notes.clear()
                before = time
            if self._acts_after:
                self._act_after(before, offset, ports)
        except CallFailed as failed:
            raise self._call_failure(failed, -1, ports) from failed.__cause__
        return self._done(ports)

    def _acts_by(self, time: int) -> bool:
        """Whether there is anything to do by this stream time, so that it must be kept."""
        if self._timers is not None and self._timers.first(EVENT, time) is not None:
            return True
        return self._by_stream.due(time) or any(state.expires_by(time) for state in self._expiring)

    def _one(self, record: Record[Any, Any], ports: list[Records]) -> None:
        self._context.at(record.key, record.timestamp, record.headers, record.offset)
        self._send(self._processor.process(record.value, self._context), record, ports)

    def _send(self, results: Any, cause: Record[Any, Any] | None, ports: list[Records], offset: int = -1) -> None:
        """Sends what the user's method gave, all or, when it fails, nothing.

        Results are values that go on with the cause's key and time, or, without a cause, records.
        """
        if results is None:
            return
        if type(results) is not GeneratorType:
            check_results(results)
        made = [self._routed(item, cause) for item in cast("Iterable[Any]", results)]
        if cause is None:
            made = [(port, own_record(item, offset)) for port, item in made]
        for port, item in made:
            if port is None:
                continue
            if cause is None:
                ports[port].append(item)
            else:
                ports[port].append(Record(cause.key, item, cause.timestamp, cause.headers, cause.offset))

    def _routed(self, item: Any, cause: Record[Any, Any] | None) -> tuple[int | None, Any]:
        """The port of a result (None when nobody reads it), and its value."""
        if type(item) is not Side:
            if type(item) is Record and cause is not None:
                raise TypeError(RECORD_YIELDED)
            return 0, item
        sent: Side[Any] = item
        if type(sent.value) is Record and cause is not None:
            raise TypeError(RECORD_YIELDED)
        port = self._sides.get(sent.name)
        if port is None:
            reason = f"side output {sent.name!r} is not read"
            self.drops[reason] = self.drops.get(reason, 0) + 1
        return port, sent.value

    def _done(self, ports: list[Records]) -> Any:
        return ports if self._sides else ports[0]

    def _call_failure(self, failed: CallFailed, index: int, ports: list[Records]) -> RecordError:
        return RecordError(self._step, index, failed.record, self._done(ports), doing=failed.doing)

    def _act_after(self, time: int, offset: int, ports: list[Records]) -> None:
        """Calls what is due after a record, such as a timer it has set in the past."""
        self._owed = offset
        if self._timers is not None:
            self._fire(EVENT, time, offset, ports)
        if self._by_stream and self._told:
            self._recur(self._by_stream, time, offset, ports)
        self._owed = None

    def _move(self, before: int, time: int, offset: int, ports: list[Records], *, before_record: bool = False) -> None:
        """Fires the timers that are due on the way to a stream time, each with the states as of when it was due."""
        self._context.move(time)
        self._context.state_time = before
        self._fire(EVENT, time, offset, ports, before_record=before_record)

    def _fire(self, kind: int, until: int, offset: int, ports: list[Records], *, before_record: bool = False) -> None:
        timers, context = self._timers, self._context
        assert timers is not None
        while (timer := timers.first(kind, until)) is not None:
            timestamp = timer.due if kind == EVENT else context.stream_time
            cause = Record(timer.key, None, timestamp, (), offset)
            context.at(timer.key, timestamp, (), offset)
            if kind == EVENT and timestamp > context.state_time:
                context.state_time = timestamp
            timers.remove(timer)
            timers.firing = timer
            try:
                self._send(self._processor.on_timer(timer.name, context), cause, ports)
            except Exception as error:
                self._journal.undo()
                timers.remove(timer)
                doing = f"fire timer {timer.name!r} for"
                raise CallFailed(doing, timer.key, timer.name, timestamp, offset, before_record) from error
            finally:
                timers.firing = None
                self._journal.notes.clear()

    def _recur(self, schedule: Schedule, time: int, offset: int, ports: list[Records]) -> None:
        while (name := schedule.take(time)) is not None:
            self._context.at(NO_KEY, time, (), offset, any_key=True)
            try:
                self._send(getattr(self._processor, name)(self._context), None, ports, offset)
            except Exception as error:
                self._journal.undo()
                raise CallFailed(f"call {name}() for", None, name, time, offset, False) from error
            finally:
                self._journal.notes.clear()


class Timing(Processing):
    """A processor with timers or methods that are called every so often."""

    def tick(self, now: int) -> Any:
        """Calls what is due by the wall clock."""
        self._context.now = now
        ports: list[Records] = [[] for _ in range(len(self._sides) + 1)]
        assert self._clock is not None
        self._begin(self._clock)
        try:
            if self._timers is not None:
                self._fire(WALL, now, -1, ports)
            if self._by_wall:
                self._recur(self._by_wall, now, -1, ports)
        except CallFailed as failed:
            raise self._call_failure(failed, -1, ports) from failed.__cause__
        return self._done(ports)


def check_results(results: object) -> None:
    """Raises TypeError unless these are several results."""
    if not isinstance(results, (list, tuple, Iterator)):
        raise TypeError(f"process() yields its results or returns a list of them, not {results!r}")


def own_record(item: Any, offset: int) -> Record[Any, Any]:
    """A record from a method that is called every so often."""
    if not isinstance(item, Record):
        raise TypeError(
            "a method that is called every so often has no key at hand: it yields "
            f"tm.Record(key, value, timestamp), not {item!r}"
        )
    return given_record(item, offset, "the method")
