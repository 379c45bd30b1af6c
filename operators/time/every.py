"""A length of time that comes round again, by stream time or by the wall clock.

One value with two uses: `@every("10s")` on a method of a `Processor` has it called for the whole task, and
`.emit(every("5s"))` says how often results of windows are sent. What happens then is in the operators.
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
    """Each `interval` ms, by stream time or by the wall clock."""

    interval: int
    clock: RecurringClock = "stream"

    def __call__(self, method: F) -> F:
        """Has a processor's method called that often."""
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
    """Each `interval`, such as "10s", of stream time or, with `clock="wall"`, of wall-clock time.

    As a decorator it marks a method of a `Processor`, which is then called that often for the whole task; as a value it
    tells `.emit()` how often to send.
    """
    if clock not in ("stream", "wall"):
        raise TopologyError(f"tm.every(clock=) is 'stream' or 'wall', not {clock!r}")
    return Every(parse_duration(interval, "tm.every()", at_least=1), clock)


def scheduled(cls: type) -> dict[str, Every]:
    """The names of a class's methods that are to be called every so often, those it inherits first."""
    found: dict[str, Every] = {}
    for parent in reversed(cls.__mro__):
        for name, value in vars(parent).items():
            mark = getattr(value, MARK, None)
            if isinstance(mark, Every):
                found[name] = mark
            else:
                found.pop(name, None)
    return found
