"""What can be told of a user's function without calling it."""

from __future__ import annotations

from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

__all__ = ["is_coroutine_function"]


def is_coroutine_function(function: object) -> bool:
    """Whether a function, or what a callable object or a partial calls, is written with `async def`."""
    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    called = (inner, type(inner).__call__)
    return any(map(iscoroutinefunction, called)) or any(map(isasyncgenfunction, called))
