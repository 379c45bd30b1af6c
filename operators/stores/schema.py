"""What a store is, in a few words: under one name there must be the same from one version of a program to the next.

The words go with committed offsets, so they are short. They say only what makes entries unreadable, or mean something
else: not which columns there are, which class a typed serde is of, or how long a window is, all of which may change.
"""

from __future__ import annotations

import re
from typing import Any, cast

from ..serdes.base import Serde
from ..serdes.keys import SessionKey, WindowedKey
from ..time.windows import SessionWindows, SlidingWindows, Windows

__all__ = ["of_type", "of_windows", "shape", "word"]

ODD = re.compile(r"[^A-Za-z0-9._ -]+")


def shape(kind: str, key: Serde[Any], value: str = "") -> str:
    """The words for a store of a step of this kind."""
    words = f"{kind} by {word(key)}"
    return ODD.sub("_", f"{words} of {value}" if value else words)


def word(serde: Serde[Any]) -> str:
    """A word for a serde: its name without the type."""
    if isinstance(serde, (WindowedKey, SessionKey)):
        windowed = cast("Any", serde)
        return f"{'window' if isinstance(serde, WindowedKey) else 'session'} and {word(windowed.inner)}"
    if type(serde).__repr__ is object.__repr__:
        return type(serde).__qualname__
    return repr(serde).partition("(")[0]


def of_windows(windows: Windows) -> str:
    """A word for a kind of windows."""
    if isinstance(windows, SessionWindows):
        return "sessions"
    return "sliding windows" if isinstance(windows, SlidingWindows) else "windows"


def of_type(kind: Any) -> str:
    """A word for the type of a state: the builtin one, number for those that mix, and value for any other."""
    if kind in (int, float):
        return "number"
    return kind.__name__ if kind in (str, bytes, bool, dict, list, tuple, set) else "value"
