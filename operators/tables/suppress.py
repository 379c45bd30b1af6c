"""Suppression: rows of a table are held back until their window closes, or for a time.

A row enters the buffer with its first change and leaves it with its newest value, in the order of entering: by the end
of its window or by the event time of the change, then by key. Time is the step's own, the largest timestamp that it has
seen. As in Kafka Streams (KTableSuppressProcessorSupplier), a window that was deleted before it closed is not sent, and
a full buffer sends its oldest rows early. The old row of an update is the one that was last sent.

    (CLOCK): time, rows, bytes  |  (HEAD, key): the row  |  (when it entered, key): True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ...state.cache import Codec, StateCache
from ...state.codec import Placement, Tally
from ...state.keys import split_window_key, window_key
from ..graph.record_loop import RecordLoop, Records
from ..graph.topology import StoreView
from ..record import Headers, Record, Update
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..stores.entries import HEAD, STREAM_TIME_KEY

__all__ = ["Suppress", "SuppressBounds", "suppress_codec", "suppress_view"]


LOWEST, NEVER = 0, 1 << 62


@dataclass(frozen=True)
class SuppressBounds:
    """When a row is sent."""

    limit: int
    """The time in ms after it entered, or after its window ended."""
    windows: bool
    """Whether the end of its window counts, not the time at which it entered."""
    max_records: int | None = None
    max_bytes: int | None = None
    """The size of keys and values, as they are stored."""


class SuppressedRow(NamedTuple):
    """A row in the buffer."""

    timestamp: int
    entered: int
    size: int
    headers: Headers
    new: Any
    old: Any
    """The row that was last sent before it entered."""


class Suppress(RecordLoop):
    """The operator that holds rows back."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, Any],
        bounds: SuppressBounds,
        size: Callable[[Any, Any], int] | None,
        *,
        updates_in: bool,
        updates_out: bool,
        watermarked: bool,
    ) -> None:
        """Create the operator; `size` returns the bytes of a key and a value, if those are bounded."""
        super().__init__(step)
        self._cache = cache
        self._bounds = bounds
        self._size = size
        self._updates_in = updates_in
        self._updates_out = updates_out
        self._watermarked = watermarked
        self._oldest = LOWEST  # no row of the buffer entered before this time
        self._time = -1
        self._rows = self._bytes = 0
        self._before = (-1, 0, 0)
        """Time, rows and bytes as they are in the store."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        for record in records:
            self._take(record)
            if record.timestamp > self._time and not self._watermarked:
                self._time = record.timestamp
            self._give(record.offset, done)

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Move time, and send the rows that are due; by the wall clock only if one is."""
        self._begin(now)
        done: Records = []
        if time > self._time:
            kept, self._time = self._time, time
            self._give(offset, done)
            if offset < 0 and not done and (self._rows, self._bytes) == self._before[1:]:
                self._time = kept
        self._end()
        return done

    def _begin(self, now: int) -> None:
        before: Any = self._cache[STREAM_TIME_KEY] or (-1, 0, 0)
        self._time, self._rows, self._bytes = self._before = before

    def _end(self) -> None:
        state = (self._time, self._rows, self._bytes)
        if state != self._before:
            self._cache.put(STREAM_TIME_KEY, state)

    def _take(self, record: Record[Any, Any]) -> None:
        """Add a change to the buffer."""
        cache, key, bounds = self._cache, record.key, self._bounds
        old, new = (record.value.old, record.value.new) if self._updates_in else (None, record.value)
        size = 0 if self._size is None else self._size(key, new)
        held: SuppressedRow | None = cache[HEAD, key]
        if new is None and bounds.windows:
            if held is not None:
                self._remove(key, held)
            return
        if held is None:
            entered = key.end if bounds.windows else record.timestamp
            self._rows += 1
            cache.put((entered, key), True)
            self._oldest = min(self._oldest, entered)
        else:
            entered, old = held.entered, held.old
            self._bytes -= held.size
        self._bytes += size
        cache.put((HEAD, key), SuppressedRow(record.timestamp, entered, size, record.headers, new, old))

    def _give(self, offset: int, done: Records) -> None:
        """Send the rows that are due, and the oldest ones if the buffer is full."""
        until = self._time - self._bounds.limit
        if self._oldest > until and not self._full():
            return
        for (entered, key), _ in self._cache.scan(window_key(self._oldest, b""), None):
            if entered > until and not self._full():
                self._oldest = entered
                return
            self._send(key, offset, done)
        self._oldest = NEVER

    def _full(self) -> bool:
        bounds = self._bounds
        return (bounds.max_records is not None and self._rows > bounds.max_records) or (
            bounds.max_bytes is not None and self._bytes > bounds.max_bytes
        )

    def _send(self, key: Any, offset: int, done: Records) -> None:
        held: Any = self._cache[HEAD, key]
        self._remove(key, held)
        value = Update(held.old, held.new) if self._updates_out else held.new
        done.append(Record(key, value, held.timestamp, held.headers, offset))

    def _remove(self, key: Any, held: SuppressedRow) -> None:
        self._cache.delete((HEAD, key))
        self._cache.delete((held.entered, key))
        self._rows -= 1
        self._bytes -= held.size


def suppress_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of the buffer."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: Any) -> bytes:
        place, inner = slot
        return window_key(place, b"" if inner is None else encode(inner))

    def decode_key(data: bytes) -> Any:
        place, inner = split_window_key(data)
        return STREAM_TIME_KEY if place == STREAM_TIME_KEY[0] else (place, decode(inner))

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is not SuppressedRow:
            return auto.encode(entry)
        held: SuppressedRow = entry
        pair = [None if side is None else value.encode(side) for side in (held.new, held.old)]
        return auto.encode([held.timestamp, held.entered, held.size, [list(pair) for pair in held.headers], *pair])

    def decode_value(data: bytes) -> Any:
        entry = auto.decode(data)
        if entry is True or len(entry) == 3:
            return entry if entry is True else tuple(entry)
        timestamp, entered, size, headers, *pair = entry
        new, old = (None if side is None else value.decode(side) for side in pair)
        return SuppressedRow(timestamp, entered, size, tuple((name, content) for name, content in headers), new, old)

    def key_of(data: bytes, entry: bytes) -> bytes | None:
        place, inner = split_window_key(data)
        return None if place == STREAM_TIME_KEY[0] else inner

    placement = Placement(key_of, getattr(key, "suffix", 0), merged_counts, COUNTS)
    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key), placement=placement)


def merged_counts(slot: Any, entries: Sequence[Any]) -> Any:
    """Return the time, rows and bytes of several tasks together."""
    return (max(entry[0] for entry in entries), *(sum(entry[at] for entry in entries) for at in (1, 2)))


def count_of(slot: Any, entry: Any) -> Any:
    """Return what a row adds to the time, rows and bytes of its task."""
    return (-1, 1, entry.size) if entry.__class__ is SuppressedRow else None


COUNTS: Final = Tally(STREAM_TIME_KEY, lambda entry: (entry[0], 0, 0), count_of)


def suppress_view() -> StoreView:
    """Return the view for queries: the rows that are held back."""
    return StoreView(
        to_key=lambda key: (HEAD, key),
        from_key=lambda slot: slot[1],
        from_value=lambda held: held.new,
        timestamp=lambda held: held.timestamp,
        visible=lambda slot: slot[0] == HEAD,
    )
