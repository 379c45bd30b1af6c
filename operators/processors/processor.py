"""User-defined steps: classes with keyed state and timers that process a record at a time.

`process(value, ctx)` yields results, returns a list of them, or returns None. A result is sent with the key, event time
and headers of the record; `side(name, value)` sends it to a side output. One instance serves all keys of a task; `ctx`
and the declared states always refer to the current record and key. If a call fails, its changes are undone.
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
    """A result for a side output, made by `tm.side`.

    Example:
        >>> tm.side("audit", {"item": "pen"}).name
        'audit'
    """

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: V) -> None:
        self.name = name
        self.value = value


def side(name: str, value: V) -> Side[V]:
    """Make a result for a side output of a processor, read by `.side(name)` of the step.

    Args:
        name: The name of the side output.
        value: The value to send; key, event time and headers are those of the record.

    Example:
        >>> class Check(tm.Processor):
        ...     def process(self, order, ctx):
        ...         yield order if order["pieces"] > 0 else tm.side("wrong", order)
        >>> wrong = orders.process(Check).side("wrong")
    """
    return Side(name, value)


class Context(Generic[K]):
    """The context of a call: the current record except for its value, the time, and timers.

    When a timer fires, the key is the timer's, there are no headers, and `timestamp` is the event time at which the
    timer was due (for wall-clock timers: stream time). In a method with `tm.every` there is no key until `use` sets
    one, and `timestamp` is the time of the method's clock: stream time or wall-clock time.

    Example:
        >>> class Stamp(tm.Processor):
        ...     def process(self, order, ctx):
        ...         return [f"{ctx.key} at {ctx.timestamp}, processed at {ctx.now}"]
        >>> stamped = orders.process(Stamp)
    """

    __slots__ = ("_any_key", "_time", "_timers", "headers", "key", "now", "offset", "state_time", "timestamp")

    key: K
    """The key of the record."""
    timestamp: int
    """The event time of the record."""
    headers: Headers
    """The headers of the record."""
    offset: int
    """The offset of the source record that caused the call; -1 for calls by the wall clock."""
    now: int
    """The wall-clock time at which the batch began."""
    state_time: int
    """The time by which values with a time to live expire."""

    def __init__(self, timers: Timers | None) -> None:
        self._any_key = False
        self._time: int | None = None
        self._timers = timers

    @property
    def stream_time(self) -> int:
        """The largest event time that the step has seen; with watermarks, the watermark.

        The current record is included.

        Raises:
            AttributeError: The processor has no state: stream time is stored with it, to survive a restart.

        Example:
            >>> class Late(tm.Processor):
            ...     count = tm.ValueState(int, default=0)
            ...     def process(self, order, ctx):
            ...         if ctx.timestamp < ctx.stream_time:
            ...             self.count.set(self.count.get() + 1)
            >>> late = orders.process(Late)
        """
        if self._time is None:
            raise AttributeError(
                "ctx.stream_time is stored with the state of a processor, to survive a restart; this one has none"
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
        """Set a timer for the current key, which calls `on_timer` once.

        It replaces the key's timer of the same name, and survives restarts. An event-time timer fires when a record
        moves stream time to its due time or beyond, before that record is processed.

        Args:
            name: The name, which is passed to `on_timer`.
            after: How long after the record's time, or after `now` for the wall clock.
            at: The due time instead, in milliseconds since 1970, or an aware datetime.
            clock: "event" or "wall" (wall clock).

        Raises:
            TypeError: The processor has no method `on_timer`.
            RuntimeError: There is no key, in a method with `tm.every` before `use`.

        Example:
            >>> class Remind(tm.Processor):
            ...     def process(self, order, ctx):
            ...         ctx.timer("unpaid", after="1h")
            ...     def on_timer(self, name, ctx):
            ...         yield f"{name}: {ctx.key}"
            >>> reminders = orders.process(Remind)
        """
        timers = self._known_timers()
        if self.key is NO_KEY:
            raise RuntimeError(f"timer {name!r}: there is no current key; set it with ctx.use(key)")
        begin = self.timestamp if clock == "event" else self.now
        timers.set(self.key, name, begin, after, at, clock)

    def cancel(self, name: str) -> None:
        """Cancel a timer of the current key, if it is set.

        Args:
            name: The name of the timer.

        Example:
            >>> class Remind(tm.Processor):
            ...     def process(self, order, ctx):
            ...         if order["pieces"]:
            ...             ctx.timer("unpaid", after="1h")
            ...         else:
            ...             ctx.cancel("unpaid")
            ...     def on_timer(self, name, ctx):
            ...         yield f"{name}: {ctx.key}"
            >>> reminders = orders.process(Remind)
        """
        self._known_timers().cancel(self.key, name)

    def use(self, key: K) -> None:
        """Set the current key for states and timers, in a method with `tm.every`.

        Args:
            key: A key of this task, such as one from `scan()` of a state.

        Raises:
            RuntimeError: The method that calls it has no `tm.every`.

        Example:
            >>> class Forget(tm.Processor):
            ...     orders = tm.ValueState(int, default=0)
            ...     def process(self, order, ctx):
            ...         self.orders.set(self.orders.get() + 1)
            ...     @tm.every("1d")
            ...     def forget(self, ctx):
            ...         for key, _ in self.orders.scan():
            ...             ctx.use(key)
            ...             self.orders.clear()
            >>> forgotten = orders.process(Forget)
        """
        if not self._any_key:
            raise RuntimeError("ctx.use(key) is for methods with tm.every: here the key is that of the record or timer")
        self.key = key

    def at(self, key: Any, timestamp: int, headers: Headers, offset: int, *, any_key: bool = False) -> None:
        """Set the record that the context describes."""
        self.key, self.timestamp, self.headers, self.offset = key, timestamp, headers, offset
        self._any_key = any_key

    def move(self, stream_time: int) -> None:
        """Set stream time."""
        self._time = self.state_time = stream_time

    def _known_timers(self) -> Timers:
        if self._timers is None:
            raise TypeError("a processor that sets timers must have a method on_timer(self, name, ctx)")
        return self._timers


class Processor(Generic[K, V, R]):
    """A user-defined step for keys of type K, with values of type V in and of type R out.

    Class attributes such as `spent = tm.ValueState(float, default=0.0)` declare state, which is kept per key. An
    instance is made per task, and another one after each failure, so nothing else may be kept in `self`. If a call
    fails, its changes are undone.

    Example:
        >>> class Spent(tm.Processor[str, dict, int]):
        ...     pieces = tm.ValueState(int, default=0)
        ...     def process(self, order, ctx):
        ...         self.pieces.set(self.pieces.get() + order["pieces"])
        ...         if self.pieces.get() > 100:
        ...             yield self.pieces.get()
        >>> orders.process(Spent).named("spent").to("large-customers", value=tm.int64)
    """

    def process(self, value: V, ctx: Context[K], /) -> Iterable[R | Side[Any]] | None:
        """Process one record; every subclass implements this method.

        Args:
            value: The value of the record.
            ctx: Its key, event time and headers, and timers.

        Returns:
            An iterable of results (the method may also be a generator), or None. Results are sent with the key, event
            time and headers of the record; `tm.side(name, value)` sends one to a side output.

        Example:
            >>> class Large(tm.Processor):
            ...     def process(self, order, ctx):
            ...         if order["pieces"] >= 10:
            ...             yield order
            >>> large = orders.process(Large)
        """
        raise NotImplementedError

    def on_timer(self, name: str, ctx: Context[K], /) -> Iterable[R | Side[Any]] | None:
        """Process a timer that fires; a class that sets timers implements this method.

        Args:
            name: The name of the timer.
            ctx: The timer's key and time.

        Returns:
            Results, as for `process`.

        Example:
            >>> class Remind(tm.Processor):
            ...     def process(self, order, ctx):
            ...         ctx.timer("unpaid", after="1h")
            ...     def on_timer(self, name, ctx):
            ...         return [f"{name}: {ctx.key}"]
            >>> reminders = orders.process(Remind)
        """
        raise NotImplementedError


def check_processor(made: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> type:
    """Return the class; raise TopologyError if it is no processor or rejects the arguments."""
    if not (isinstance(made, type) and issubclass(cast("Any", made), Processor)):
        raise TopologyError(f".process() takes a subclass of tm.Processor, not {made!r}")
    cls = cast("type[object]", made)
    for name in ("process", "on_timer", *scheduled(cls)):
        if is_coroutine_function(getattr(cls, name)):
            raise TopologyError(
                f"{cls.__name__}.{name}() is a coroutine function, which would never be awaited: a processor's "
                "methods are plain functions; .map_async() calls a coroutine function for each value"
            )
    try:
        signature(cls).bind(*arguments, **options)
    except TypeError as error:
        raise TopologyError(f".process({cls.__name__}): {error}") from error
    return cls


def has_timers(cls: type) -> bool:
    """Return whether a processor implements `on_timer`."""
    return getattr(cls, "on_timer", None) is not Processor.on_timer
