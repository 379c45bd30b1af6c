"""The user's own step: a class with keyed state and timers, which sees one record at a time.

`process(value, ctx)` yields results, returns a list of them, or returns None. A result goes on with the key, event time
and headers of the record; `side(name, value)` sends it to another output. One instance serves all keys of a task;
`ctx` and the declared states always mean the record and key at hand. A call that fails half-way has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from inspect import signature
from typing import Any, Generic, Literal, cast

from typing_extensions import TypeVar

from ..errors import TopologyError
from ..record import Headers
from ..stores.expiring import NO_KEY
from ..time.durations import Duration
from ..time.every import scheduled
from ..user_functions import is_coroutine_function
from .timers import Timers

__all__ = ["Context", "Processor", "Side", "check_processor", "has_timers", "side"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
R = TypeVar("R", default=Any)


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
    """The record at hand, but for its value, the time, and timers for its key.

    When a timer fires, the key is that of the timer, there are no headers, and `timestamp` is the event time at which
    the timer was due (by the wall clock: stream time). In a method that is called `every` so often no key is at hand,
    and `timestamp` is stream time, or wall-clock time if it is called by that.
    """

    __slots__ = ("_any_key", "_time", "_timers", "headers", "key", "now", "offset", "state_time", "timestamp")

    key: K
    """Its key."""
    timestamp: int
    """Its event time."""
    headers: Headers
    """Its headers."""
    offset: int
    """The offset of the record it came from; -1 when it is the wall clock's doing."""
    now: int
    """Wall-clock time when the batch began."""
    state_time: int
    """The time by which values with a time to live expire."""

    def __init__(self, timers: Timers | None) -> None:
        self._any_key = False
        self._time: int | None = None
        self._timers = timers

    @property
    def stream_time(self) -> int:
        """The largest event time this step has seen, this record included; with watermarks, what these tell."""
        if self._time is None:
            raise AttributeError(
                "ctx.stream_time is kept with a processor's state, so that it survives a restart, and this one has none"
            )
        return self._time

    def timer(
        self,
        name: str,
        *,
        after: Duration | None = None,
        at: int | datetime | None = None,
        clock: Literal["event", "wall"] = "event",
    ) -> None:
        """Has `on_timer` called for this key, once: `after` the time of the record (or `now`), or `at` a time.

        A timer replaces the one of the same name that the key has. By event time it fires when a record moves stream
        time to it or beyond, before that record is processed.
        """
        timers = self._known_timers()
        if self.key is NO_KEY:
            raise RuntimeError(f"timer {name!r}: no key is at hand; say whose timer it is with ctx.use(key)")
        begin = self.timestamp if clock == "event" else self.now
        timers.set(self.key, name, begin, after, at, clock)

    def cancel(self, name: str) -> None:
        """Removes the timer of this name, if the key has one."""
        self._known_timers().cancel(self.key, name)

    def use(self, key: K) -> None:
        """In a method that is called `every` so often: takes a key at hand, for states and timers.

        It must be a key of this task, such as one that a state's `scan()` gave.
        """
        if not self._any_key:
            raise RuntimeError("ctx.use(key) is for methods that are called every so often: here the key is given")
        self.key = key

    def at(self, key: Any, timestamp: int, headers: Headers, offset: int, *, any_key: bool = False) -> None:
        """Sets what is at hand."""
        self.key, self.timestamp, self.headers, self.offset = key, timestamp, headers, offset
        self._any_key = any_key

    def move(self, stream_time: int) -> None:
        """Sets stream time."""
        self._time = self.state_time = stream_time

    def _known_timers(self) -> Timers:
        if self._timers is None:
            raise TypeError("a processor that sets timers must have a method on_timer(self, name, ctx)")
        return self._timers


class Processor(Generic[K, V, R]):
    """A step of the user's: keys of type K, values of type V in, values of type R out.

    Class attributes such as `spent = ValueState(float, default=0.0)` declare state. An instance is made for each task,
    and again after each failure, so `self` is no place to keep anything else that must last.
    """

    def process(self, value: V, ctx: Context[K], /) -> Iterable[R | Side[Any]] | None:
        """What becomes of one record."""
        raise NotImplementedError

    def on_timer(self, name: str, ctx: Context[K], /) -> Iterable[R | Side[Any]] | None:
        """What happens when a timer fires; a class that sets timers must have this method."""
        raise NotImplementedError


def check_processor(made: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> type:
    """The class; raises TopologyError when it is no processor or does not take these arguments."""
    if not (isinstance(made, type) and issubclass(cast("Any", made), Processor)):
        raise TopologyError(f".process() takes a subclass of tm.Processor, not {made!r}")
    cls = cast("type[object]", made)
    for name in ("process", "on_timer", *scheduled(cls)):
        if is_coroutine_function(getattr(cls, name)):
            raise TopologyError(
                f"{cls.__name__}.{name}() is a coroutine function, whose result nobody would await: a processor's "
                "methods are plain functions; .map_async() calls a coroutine function for each value"
            )
    try:
        signature(cls).bind(*arguments, **options)
    except TypeError as error:
        raise TopologyError(f".process({cls.__name__}): {error}") from error
    return cls


def has_timers(cls: type) -> bool:
    """Whether a processor has a method for its timers."""
    return getattr(cls, "on_timer", None) is not Processor.on_timer
