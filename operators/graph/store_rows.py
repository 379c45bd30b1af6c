"""The rows of stores: what a dump shows, which is all but the bookkeeping of a step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

__all__ = ["TIMES", "StoreRow"]

TIMES: Final = frozenset({"window_start", "window_end", "timestamp", "due", "expires"})
"""The columns of a dump that are times, in ms since 1970."""
NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class StoreRow(NamedTuple):
    """A row of a store."""

    key: Any
    value: Any = msgspec.UNSET
    """None is a value, such as the tombstone of a versioned store; without a value, UNSET."""
    timestamp: int | None = None
    """The event time, if it has one."""
    columns: Mapping[str, Any] = NONE
    """What else the row has, by column: the side of a join, the name of a timer."""
