"""Short descriptions of stores, which must stay the same under a name.

All versions of a program must describe a store in the same way. Descriptions are stored with committed offsets, so they
are short. They contain only what makes entries unreadable or changes
their meaning: not the columns, the class of a typed serde, or the length of a window, all of which may change.
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
    """Return the description of a store for a kind of step."""
    words = f"{kind} by {word(key)}"
    return ODD.sub("_", f"{words} of {value}" if value else words)


def word(serde: Serde[Any]) -> str:
    """Return the description of a serde: its name without the type."""
    if isinstance(serde, (WindowedKey, SessionKey)):
        windowed = cast("Any", serde)
        return f"{'window' if isinstance(serde, WindowedKey) else 'session'} and {word(windowed.inner)}"
    if type(serde).__repr__ is object.__repr__:
        return type(serde).__qualname__
    return repr(serde).partition("(")[0]


def of_windows(windows: Windows) -> str:
    """Return the description of a kind of windows."""
    if isinstance(windows, SessionWindows):
        return "sessions"
    return "sliding windows" if isinstance(windows, SlidingWindows) else "windows"


def of_type(kind: Any) -> str:
    """Return the description of a state's type: a builtin type, "number", or "value"."""
    if kind in (int, float):
        return "number"
    return kind.__name__ if kind in (str, bytes, bool, dict, list, tuple, set) else "value"
