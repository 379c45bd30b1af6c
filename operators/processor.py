"""The user's own step: a class with keyed state, which sees one record at a time.

`process(value, ctx)` yields results, returns a list of them, or returns None. A result goes on with the key, event time
and headers of the record; `side(name, value)` sends it to another output. One instance serves all keys of a task;
`ctx` and the declared states always mean the record and key at hand. A call that fails half-way has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import signature
from types import GeneratorType
from typing import Any, Generic, TypeAlias, cast

from typing_extensions import TypeVar

from ..state.cache import StateCache
from .errors import TopologyError
from .poison import cause_of, poison
from .record import Headers, Record
from .serde import Serde
from .states import CLOCK, Bound, Journal, State

__all__ = ["Context", "Processing", "Processor", "Side", "check_processor", "side"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
R = TypeVar("R", default=Any)

Records: TypeAlias = list[Record[Any, Any]]


class Side(Generic[V]):
    """A result for a side output."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: V) -> None:
        self.name = name
        self.value = value


def side(name: str, value: V) -> Side[V]:
    """A result for the side output of this name, read by `handle.side(name)`."""
    return Side(name, value)


class Context(Generic[K]):
    """The record at hand, but for its value, and the time."""

    __slots__ = ("_time", "headers", "key", "now", "offset", "timestamp")

    key: K
    """Its key."""
    timestamp: int
    """Its event time."""
    headers: Headers
    """Its headers."""
    offset: int
    """The offset of the record it came from."""
    now: int
    """Wall-clock time when the batch began."""

    def __init__(self) -> None:
        self._time: int | None = None

    @property
    def stream_time(self) -> int:
        """The largest event time this step has seen, this record included."""
        if self._time is None:
            raise AttributeError(
                "ctx.stream_time is kept with a processor's state, so that it survives a restart, and this one has none"
            )
        return self._time

    def move(self, stream_time: int) -> None:
        """Sets stream time."""
        self._time = stream_time


class Processor(Generic[K, V, R]):
    """A step of the user's: keys of type K, values of type V in, values of type R out.

    Class attributes such as `spent = ValueState(float, default=0.0)` declare state. An instance is made for each task,
    and again after each failure, so `self` is no place to keep anything else that must last.
    """

    def process(self, value: V, ctx: Context[K], /) -> Iterable[R | Side[Any]] | None:
        """What becomes of one record."""
        raise NotImplementedError


class Processing:
    """A processor at work."""

    def __init__(
        self,
        step: str,
        processor: Processor[Any, Any, Any],
        states: Mapping[str, tuple[State, StateCache[Any, Any]]],
        key: Serde[Any],
        sides: Sequence[str],
    ) -> None:
        self._step = step
        self._process = processor.process
        self._sides = {name: port for port, name in enumerate(sides, start=1)}
        self._journal = Journal()
        self._context: Context[Any] = Context()
        self._clock = next((cache for _, cache in states.values()), None)
        for name, (state, cache) in states.items():
            setattr(processor, name, state.bind(Bound(cache, self._journal, self._context, key.encode)))
        self.drops = {"null key": 0}

    def process(self, records: Records, now: int) -> Any:
        """One list of records, or, with side outputs, one a port."""
        self._context.now = now
        ports: list[Records] = [[] for _ in range(len(self._sides) + 1)]
        done: Any = ports if self._sides else ports[0]
        rest = iter(records)
        try:
            if self._clock is None:
                for record in rest:
                    self._one(record, ports)
            else:
                self._keyed(rest, self._clock, ports)
        except Exception as error:
            self._journal.undo()
            failure = poison(self._step, records, rest, done)
            raise failure from error if self._clock is None else cause_of(failure, error)
        return done

    def _keyed(self, records: Iterator[Record[Any, Any]], clock: StateCache[Any, Any], ports: list[Records]) -> None:
        began = time = clock[CLOCK] or 0
        context, notes = self._context, self._journal.notes
        try:
            for record in records:
                if record.key is None:
                    self.drops["null key"] += 1
                    continue
                moved = max(time, record.timestamp)
                context.move(moved)
                self._one(record, ports)
                notes.clear()
                time = moved
        finally:
            if time != began:
                clock.put(CLOCK, time)

    def _one(self, record: Record[Any, Any], ports: list[Records]) -> None:
        context = self._context
        context.key, context.timestamp = record.key, record.timestamp
        context.headers, context.offset = record.headers, record.offset
        results: Any = self._process(record.value, context)
        if results is None:
            return
        if type(results) is not GeneratorType:
            check_results(results)
        made = [self._routed(item) for item in cast("Iterable[Any]", results)]
        for port, item in made:
            if port is not None:
                ports[port].append(Record(record.key, item, record.timestamp, record.headers, record.offset))

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


def check_results(results: object) -> None:
    """Raises TypeError unless these are several results."""
    if not isinstance(results, (list, tuple, Iterator)):
        raise TypeError(f"process() yields its results or returns a list of them, not {results!r}")


def check_processor(made: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> type:
    """The class; raises TopologyError when it is no processor or does not take these arguments."""
    if not (isinstance(made, type) and issubclass(cast("Any", made), Processor)):
        raise TopologyError(f".process() takes a subclass of tm.Processor, not {made!r}")
    cls = cast("type[object]", made)
    try:
        signature(cls).bind(*arguments, **options)
    except TypeError as error:
        raise TopologyError(f".process({cls.__name__}): {error}") from error
    return cls
