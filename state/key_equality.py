"""Decides which keys a dict may hold in place of their bytes.

Two keys are equal if, and only if, their serde writes the same bytes for them. A dict compares values, which is the
same for strings, integers and most others, but not for `1`, `1.0` and `True`, for `0.0` and `-0.0`, or for NaN.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, Protocol

import msgspec

__all__ = ["PLAIN", "KeyBytes", "Kin", "all_plain"]

PLAIN: Final[frozenset[type]] = frozenset({str, int, bytes, type(None), uuid.UUID, dt.date})
"""Classes whose values are equal if, and only if, their bytes are, and which equal no value of another class here."""


def all_plain(keys: Iterable[Any]) -> bool:
    """Return whether equality of these keys, and of their parts, is equality of their bytes."""
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


class KeyBytes(bytes):
    """An encoded key in place of the key."""


class Kin(Protocol):
    """Another cache of the task."""

    def by_bytes(self) -> None:
        """Replace all keys by their bytes, so that keys of any kind are accepted from now on."""
        ...
