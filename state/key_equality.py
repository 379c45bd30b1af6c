"""Which keys a dict may hold in place of their bytes.

A key is its bytes: two keys are one if, and only if, their serde writes the same bytes for them. A dict goes by
equality, which is the same thing for text, whole numbers and most others, but not for `1`, `1.0` and `True`, for `0.0`
and `-0.0`, or for NaN.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import msgspec

__all__ = ["PLAIN", "all_plain"]

PLAIN: Final[frozenset[type]] = frozenset({str, int, bytes, type(None), uuid.UUID, dt.date})
"""Classes whose values are equal when, and only when, they are written alike, and which equal nothing else here."""


def all_plain(keys: Iterable[Any]) -> bool:
    """Whether equality of these keys, and of their parts, is equality of their bytes."""
    keys = list(keys)
    kinds = set(map(type, keys))
    if kinds <= PLAIN:
        return True
    composite: list[Iterable[Any]] = []
    for kind in kinds - PLAIN:
        if kind is tuple:
            composite += [key for key in keys if type(key) is kind]
        elif issubclass(kind, msgspec.Struct):
            composite += [msgspec.structs.astuple(key) for key in keys if type(key) is kind]
        else:
            return False
    return all_plain(chain.from_iterable(composite))
