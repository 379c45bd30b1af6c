"""Tables by window joined with tables of the same windows: the rows of windows that are over are forgotten.

Tables by window forget a window without saying so, so the join does as well. A window is over when both tables have
passed its close, or one of them is ahead of it by ten times the span of a window: what comes from the other then is
dropped and counted as late. A table's time is the largest of its rows'. Behind a watermark a window is over when that
has passed its close.

    encoded key: 00 + side, that table's time   |   00 02, the watermark   |   01 + end + start + key of the window
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..record import Record, Windowed
from ..serdes.base import Serde, is_exact
from ..stores.entries import clock_of
from ..time.windows import SessionWindows, Windows
from .table_join import How, Joiner, TableJoin, joined_values

__all__ = ["WindowedTableJoin", "windowed_joined_codec"]

AHEAD: Final = 10
"""How many spans of a window one table may be ahead before it waits for the other no more."""
NEVER: Final = (1 << 63) - 1
TOLD: Final = 2
"""Under this the time is kept that a watermark tells."""

ENTRY = b"\x01"

_TIME = Struct(">q")


class WindowedTableJoin(TableJoin):
    """Joins two tables of the same windows."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, Any],
        how: How,
        joined: Joiner,
        windows: Windows,
        *,
        updates: bool,
        watermarked: bool,
    ) -> None:
        """When `watermarked` time is told."""
        super().__init__(step, cache, how, joined, updates=updates)
        self._watermarked = watermarked
        self._grace = windows.close(0)
        self._ahead = AHEAD * windows.close(0 if isinstance(windows, SessionWindows) else windows.end(0))
        self._first: int | None = None  # no window that is kept ends before this; None when that is not known
        self.drops["late"] = 0
        self.lateness = 0

    def join(self, slot: int, record: Record[Any, Any], done: list[Record[Any, Any]]) -> None:
        """Does what a record of a side causes."""
        end: int = record.key.end
        if end < self._over_before():
            self.drops["late"] += 1
            newest = max(clock_of(self._cache[0]), clock_of(self._cache[1]))
            self.lateness = max(self.lateness, newest - record.timestamp)
            return
        super().join(slot, record, done)
        if self._first is not None and end < self._first:
            self._first = end
        if not self._watermarked and record.timestamp > clock_of(self._cache[slot]):
            before = self._over_before()
            self._cache.put(slot, (record.timestamp,))
            self._forget(before, self._over_before())

    def advance(self, time: int, offset: int, now: int) -> list[Record[Any, Any]]:
        """Moves time. By the wall clock it moves, and is kept, only where that forgets a window."""
        before = clock_of(self._cache[TOLD])
        if time > before and (offset >= 0 or self._forgets_by(time - self._grace)):
            self._cache.put(TOLD, (time,))
            self._forget(before - self._grace, time - self._grace)
        return []

    def _forgets_by(self, limit: int) -> bool:
        first = next((windowed.end for windowed, _ in self._cache.scan(ENTRY, None)), NEVER)
        return first < limit

    def _over_before(self) -> int:
        """Windows that end before this are over."""
        if self._watermarked:
            return clock_of(self._cache[TOLD]) - self._grace
        left, right = clock_of(self._cache[0]), clock_of(self._cache[1])
        return max(min(left, right), max(left, right) - self._ahead) - self._grace

    def _forget(self, before: int, limit: int) -> None:
        if limit <= before or (self._first is not None and limit <= self._first):
            return
        for windowed, _ in self._cache.scan(ENTRY + pack(before), None):
            if windowed.end >= limit:
                self._first = windowed.end
                return
            self._cache.delete(windowed)
        self._first = NEVER


def windowed_joined_codec(key: Serde[Any], left: Serde[Any], right: Serde[Any]) -> Codec[Any, Any]:
    """Entries by the end of their window; `key` is the serde of the key in the window."""
    encode, decode = joined_values(left, right)

    def encode_key(slot: Any) -> bytes:
        if slot.__class__ is Windowed:
            return ENTRY + pack(slot.end, slot.start, key.encode(slot.key))
        return b"\x00" + bytes((slot,))

    def decode_key(data: bytes) -> Any:
        if data[:1] != ENTRY:
            return data[1]
        end, start, raw = unpack(data[1:], int, int, bytes)
        return Windowed(key.decode(raw), start, end)

    def encode_value(entry: tuple[Any, ...]) -> bytes:
        return _TIME.pack(entry[0]) if len(entry) == 1 else encode(entry)

    def decode_value(data: bytes) -> tuple[Any, ...]:
        return _TIME.unpack(data) if len(data) == _TIME.size else decode(data)

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key))
