"""Intervals of stream time or wall-clock time.

The value has two uses: `@every("10s")` on a method of a `Processor` calls it at the interval, once for the whole task,
and `.emit(every("5s"))` sets how often window results are sent. The operators implement both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from typing_extensions import TypeVar

from ..errors import TopologyError
from .durations import Duration, format_duration, parse_duration

__all__ = ["Every", "RecurringClock", "every", "scheduled"]

RecurringClock: TypeAlias = Literal["stream", "wall"]

F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__tidemill_every__"


@dataclass(frozen=True)
class Every:
    """A regular interval of stream time or wall-clock time, made by `tm.every`.

    Args:
        interval: Its length, in milliseconds.
        clock: "stream" or "wall".

    Example:
        >>> print(tm.every("5s"))
        every 5s of stream time
    """

    interval: int
    clock: RecurringClock = "stream"

    def __call__(self, method: F) -> F:
        """Call a processor's method at this interval."""
        if not callable(method):
            raise TopologyError(f"tm.every(...) decorates a method of a processor, not {method!r}")
        if hasattr(method, MARK):
            raise TopologyError(
                f"{method.__qualname__} is called {getattr(method, MARK)} already: a method has one tm.every(...)"
            )
        setattr(method, MARK, self)
        return method

    def __str__(self) -> str:
        return f"every {format_duration(self.interval)} of {'stream' if self.clock == 'stream' else 'wall-clock'} time"


def every(interval: Duration, *, clock: RecurringClock = "stream") -> Every:
    """Make an interval: a decorator for methods of a processor, or an argument of `.emit()`.

    The method is called at this interval, once for the whole task. It has no key, so its results are whole records.

    Args:
        interval: Its length, such as "10s".
        clock: "stream" for stream time, "wall" for wall-clock time. `.emit()` always uses the wall clock.

    Raises:
        TopologyError: The interval is not a positive duration, or the clock is something else.

    Example:
        >>> class Report(tm.Processor):
        ...     orders = tm.ValueState(int, default=0)
        ...     def process(self, order, ctx):
        ...         self.orders.set(self.orders.get() + 1)
        ...     @tm.every("1m")
        ...     def report(self, ctx):
        ...         for key, count in self.orders.scan():
        ...             yield tm.Record(key, f"{count} orders", ctx.timestamp)
        >>> reports = orders.process(Report)
    """
    if clock not in ("stream", "wall"):
        raise TopologyError(f"tm.every(clock=) is 'stream' or 'wall', not {clock!r}")
    return Every(parse_duration(interval, "tm.every()", at_least=1), clock)


def scheduled(cls: type) -> dict[str, Every]:
    """Return the intervals of a class's methods with `every`, by name, inherited ones first."""
    found: dict[str, Every] = {}
    for parent in reversed(cls.__mro__):
        for name, value in vars(parent).items():
            mark = getattr(value, MARK, None)
            if isinstance(mark, Every):
                found[name] = mark
            else:
                found.pop(name, None)
    return found
