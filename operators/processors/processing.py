"""The operator of a `Processor`: moves time, fires due timers, then processes the record.

After each record it fires the timers that the record set in the past, and calls the due methods with `every`. If a call
fails, its changes to states and timers are undone; the move of time is not. A timer or method that failed is not called
again for that due time, and the others that are due follow. Records with a null key are dropped and counted if the
processor has state or timers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import Any, Final, TypeAlias, cast

from ...state.cache import StateCache
from ..errors import DeferredError, raise_record_error
from ..graph.output_checks import given_record
from ..graph.record_loop import RecordLoop, Records
from ..record import Record
from ..serdes.base import Serde
from ..stores.expiring import NO_KEY, STREAM_TIME, ExpiringStore, UndoLog
from ..time.every import Every
from .processor import Context, Processor, Side
from .schedule import Schedule
from .state import DeclaredState
from .timers import EVENT, WALL, Timers

__all__ = ["Processing", "Timing"]

Cache: TypeAlias = StateCache[Any, Any]


RECORD_YIELDED: Final = (
    "process() yields values, not records: yield the value alone, and change keys and times by .map_record() behind it"
)


class Processing(RecordLoop):
    """The operator of a processor without timers."""

    def __init__(
        self,
        step: str,
        processor: Processor[Any, Any, Any],
        states: Mapping[str, tuple[DeclaredState, Cache]],
        timers: Cache | None,
        key: Serde[Any],
        sides: Sequence[str],
        has_timers: bool = False,
        recurring: Mapping[str, Every] | None = None,
        watermarked: bool = False,
    ) -> None:
        super().__init__(step)
        self._watermarked = watermarked
        self._processor = processor
        self._sides = {name: port for port, name in enumerate(sides, start=1)}
        self._undo_log = UndoLog()
        self._timers = Timers(timers, self._undo_log) if timers is not None and has_timers else None
        self._by_stream = Schedule(timers, "stream", recurring or {})
        self._by_wall = Schedule(timers, "wall", recurring or {})
        self._acts_after = self._timers is not None or bool(self._by_stream)
        self._context: Context[Any] = Context(self._timers)
        if timers is not None and recurring:
            timers.by_bytes()
        self._clock = next((cache for _, cache in states.values()), timers)
        self._watermark_known = True  # False while there are watermarks and none has arrived yet
        self._owed: int | None = None  # the offset of the record after which a call failed: more calls may be due
        self._expiring: list[DeclaredState] = []
        self.drops = {"null key": 0}
        for name, (state, cache) in states.items():
            if recurring:
                cache.by_bytes()  # a method with `every` may use any key
            store = ExpiringStore(cache, self._undo_log, self._context, key.encode, state.ttl, self.drops)
            bound: DeclaredState = state.bind(store, watermarked=watermarked)
            setattr(processor, name, bound)
            if state.expires(watermarked=watermarked):
                self._expiring.append(bound)

    def _no_results(self) -> Any:
        """Return an empty list of records, or one per port if there are side outputs."""
        return [[] for _ in range(len(self._sides) + 1)] if self._sides else []

    def _begin(self, now: int) -> None:
        self._context.now = now

    def _run(self, records: Iterator[Record[Any, Any]], done: Any) -> None:
        ports = self._ports(done)
        try:
            if self._clock is None:
                for record in records:
                    self._one(record, ports)
            else:
                self._keyed(records, self._clock, ports)
        except Exception:
            self._undo_log.undo()
            raise

    def _keyed(self, records: Iterator[Record[Any, Any]], clock: Cache, ports: list[Records]) -> None:
        context, notes, timers, watermarked = self._context, self._undo_log.notes, self._timers, self._watermarked
        began = self._read_time(clock)
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
                        state.expire(time)
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
                clock.put(STREAM_TIME, kept)

    def _read_time(self, clock: Cache) -> int:
        """Read the stored time into the context, and return the stored value.

        It is stream time; if there are watermarks and none has arrived yet, it is -1 minus the largest timestamp so
        far.
        """
        kept: int | None = clock[STREAM_TIME]
        if kept is None:
            kept = -1 if self._watermarked else 0
        self._watermark_known = kept >= 0
        self._context.move(max(kept, 0))
        self._context.state_time = kept if kept >= 0 else -1 - kept
        return kept

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Move stream time, fire the timers and call the methods due by it."""
        done = self._no_results()
        ports = self._ports(done)
        clock = self._clock
        if clock is None:
            return done
        self._begin(now)
        self._read_time(clock)
        before = self._context.stream_time
        try:
            if time > before and (offset >= 0 or self._acts_by(time)):
                if self._timers is not None:
                    self._move(before, time, offset, ports)
                clock.put(STREAM_TIME, time)
                self._read_time(clock)
                for state in self._expiring:
                    state.expire(time)
                self._undo_log.notes.clear()
                before = time
            if self._acts_after:
                self._act_after(before, offset, ports)
        except DeferredError as error:
            raise_record_error(error, self._step, done)
        return done

    def _acts_by(self, time: int) -> bool:
        """Return whether anything is due by this stream time, so that the time must be stored."""
        if self._timers is not None and self._timers.first(EVENT, time) is not None:
            return True
        return self._by_stream.due(time) or any(state.expires_by(time) for state in self._expiring)

    def _one(self, record: Record[Any, Any], ports: list[Records]) -> None:
        self._context.at(record.key, record.timestamp, record.headers, record.offset)
        self._send(self._processor.process(record.value, self._context), record, ports)

    def _send(self, results: Any, cause: Record[Any, Any] | None, ports: list[Records], offset: int = -1) -> None:
        """Send the results of a method; send none of them if one is invalid.

        Results are values that are sent with the key and time of `cause`, or records if there is no cause.
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
        """Return the port of a result (None if the port is not read) and its value."""
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

    def _ports(self, done: Any) -> list[Records]:
        return done if self._sides else [done]

    def _act_after(self, time: int, offset: int, ports: list[Records]) -> None:
        """Fire the timers and call the methods that are due after a record."""
        self._owed = offset
        if self._timers is not None:
            self._fire(EVENT, time, offset, ports)
        if self._by_stream and self._watermark_known:
            self._recur(self._by_stream, time, offset, ports)
        self._owed = None

    def _move(self, before: int, time: int, offset: int, ports: list[Records], *, before_record: bool = False) -> None:
        """Fire the timers due up to a stream time; each reads the states as of its due time."""
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
                self._undo_log.undo()
                timers.remove(timer)
                doing = f"fire timer {timer.name!r} for"
                failed = Record(timer.key, timer.name, timestamp, (), offset)
                raise DeferredError(failed, doing, before_record=before_record) from error
            finally:
                timers.firing = None
                self._undo_log.notes.clear()

    def _recur(self, schedule: Schedule, time: int, offset: int, ports: list[Records]) -> None:
        while (name := schedule.take(time)) is not None:
            self._context.at(NO_KEY, time, (), offset, any_key=True)
            try:
                self._send(getattr(self._processor, name)(self._context), None, ports, offset)
            except Exception as error:
                self._undo_log.undo()
                raise DeferredError(Record(None, name, time, (), offset), f"call {name}() for") from error
            finally:
                self._undo_log.notes.clear()


class Timing(Processing):
    """The operator of a processor with timers or methods with `every`."""

    def tick(self, now: int) -> Any:
        """Fire the timers and call the methods that are due by the wall clock."""
        self._begin(now)
        done = self._no_results()
        ports = self._ports(done)
        assert self._clock is not None
        self._read_time(self._clock)
        try:
            if self._timers is not None:
                self._fire(WALL, now, -1, ports)
            if self._by_wall:
                self._recur(self._by_wall, now, -1, ports)
        except DeferredError as error:
            raise_record_error(error, self._step, done)
        return done


def check_results(results: object) -> None:
    """Raise TypeError unless the results are a list, a tuple or an iterator."""
    if not isinstance(results, (list, tuple, Iterator)):
        raise TypeError(f"process() yields its results or returns a list of them, not {results!r}")


def own_record(item: Any, offset: int) -> Record[Any, Any]:
    """Return a record yielded by a method with `tm.every`, after checking it."""
    if not isinstance(item, Record):
        raise TypeError(
            f"a method with tm.every has no current key: it yields tm.Record(key, value, timestamp), not {item!r}"
        )
    return given_record(item, offset, "the method")
