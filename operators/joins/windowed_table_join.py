"""The join of two windowed tables: the rows of closed windows are deleted.

Windowed tables delete closed windows without sending tombstones, so the join does the same. A window is over when both
tables have passed its close, or when one of them is ahead of it by ten times the span of a window. Rows that arrive for
it later are dropped and counted as late. The time of a table is the largest timestamp of its rows. With a watermark, a
window is over when the watermark has passed its close.

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
from ..stores.placements import placed
from ..time.windows import SessionWindows, Windows
from .table_join import How, Joiner, TableJoin, joined_values

__all__ = ["WindowedTableJoin", "windowed_joined_codec"]

AHEAD: Final = 10
"""How many window spans one table may be ahead before it stops waiting for the other."""
NEVER: Final = (1 << 63) - 1
WATERMARK: Final = 2
"""The cache key of the watermark."""

ENTRY = b"\x01"

_TIME = Struct(">q")


class WindowedTableJoin(TableJoin):
    """A join of two tables with the same windows."""

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
        """Create the join; with `watermarked`, time moves by watermarks only."""
        super().__init__(step, cache, how, joined, updates=updates)
        self._watermarked = watermarked
        self._grace = windows.close(0)
        self._ahead = AHEAD * windows.close(0 if isinstance(windows, SessionWindows) else windows.end(0))
        self._first: int | None = None  # no stored window ends before this; None if unknown
        self.drops["late"] = 0
        self.lateness = 0

    def join(self, slot: int, record: Record[Any, Any], done: list[Record[Any, Any]]) -> None:
        """Process a record of one side, unless its window is over."""
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
        """Move time, and delete the windows that are over; by the wall clock, only if there are any."""
        before = clock_of(self._cache[WATERMARK])
        if time > before and (offset >= 0 or self._forgets_by(time - self._grace)):
            self._cache.put(WATERMARK, (time,))
            self._forget(before - self._grace, time - self._grace)
        return []

    def _forgets_by(self, limit: int) -> bool:
        first = next((windowed.end for windowed, _ in self._cache.scan(ENTRY, None)), NEVER)
        return first < limit

    def _over_before(self) -> int:
        """Return the time such that windows that end before it are over."""
        if self._watermarked:
            return clock_of(self._cache[WATERMARK]) - self._grace
        left, right = clock_of(self._cache[0]), clock_of(self._cache[1])
        return max(min(left, right), max(left, right) - self._ahead) - self._grace

    def _forget(self, before: int, limit: int) -> None:
        if limit <= before or (self._first is not None and limit <= self._first):
            return
        # the first scan is from the front: another task may have been behind
        for windowed, _ in self._cache.scan(ENTRY if self._first is None else ENTRY + pack(before), None):
            if windowed.end >= limit:
                self._first = windowed.end
                return
            self._cache.delete(windowed)
        self._first = NEVER


def windowed_joined_codec(key: Serde[Any], left: Serde[Any], right: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of entries ordered by window end; `key` is the serde of the inner key."""
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

    def key_of(data: bytes) -> bytes | None:
        return unpack(data[1:], int, int, bytes)[2] if data[:1] == ENTRY else None

    placement = placed(key, key_of)
    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key), placement=placement)
