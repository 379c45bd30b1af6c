"""Properties of a user function, known without calling it."""

from __future__ import annotations

from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, cast

__all__ = ["is_coroutine_function", "unwrapped"]


def unwrapped(function: object) -> Any:
    """Return the function in partials."""
    while isinstance(function, partial):
        function = cast("partial[Any]", function).func
    return function


def is_coroutine_function(function: object) -> bool:
    """Return whether a function is a coroutine function or an asynchronous generator function.

    Callable objects and partials count as what they call.
    """
    inner = unwrapped(function)
    called = (inner, type(inner).__call__)
    return any(map(iscoroutinefunction, called)) or any(map(isasyncgenfunction, called))
