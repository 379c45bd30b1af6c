"""Rows of a table held back: until their window closes, or for a time.

A row enters the buffer with its first change and leaves it with its newest value, in the order of entering: by the end
of its window or by the event time of the change, then by key. Time is the step's own, the largest timestamp that it has
seen. As in Kafka Streams (KTableSuppressProcessorSupplier) a window that was deleted before it closed is not sent, and
a full buffer sends its oldest rows early. What a row was before is what was last sent of it.

    (CLOCK): time, rows, bytes  |  (HEAD, key): the row  |  (when it entered, key): True
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...state.cache import Codec, StateCache
from ...state.keys import split_window_key, window_key
from ..errors import poison
from ..graph.operator import Operator
from ..graph.topology import StoreView
from ..record import Headers, Record, Update
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..stores.entries import CLOCK, HEAD

__all__ = ["Bounds", "Suppress", "suppress_codec", "suppress_view"]

Records = list[Record[Any, Any]]

LOWEST, NEVER = 0, 1 << 62


@dataclass(frozen=True)
class Bounds:
    """When a row is sent."""

    limit: int
    """How many ms after it entered, or after its window ended."""
    windows: bool
    """True when its window's end counts, and not when it entered."""
    max_records: int | None = None
    max_bytes: int | None = None
    """Of keys and values, as they are stored."""


class Held(NamedTuple):
    """A row in the buffer."""

    timestamp: int
    entered: int
    size: int
    headers: Headers
    new: Any
    old: Any
    """What was sent of it before it entered."""


class Suppress(Operator):
    """A buffer of rows."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, Any],
        bounds: Bounds,
        size: Callable[[Any, Any], int] | None,
        *,
        updates_in: bool,
        updates_out: bool,
        watermarked: bool,
    ) -> None:
        """`size` gives the bytes of a key and a value, where those are bounded. When `watermarked` time is told."""
        self._step = step
        self._cache = cache
        self._bounds = bounds
        self._size = size
        self._updates_in = updates_in
        self._updates_out = updates_out
        self._watermarked = watermarked
        self._oldest = LOWEST  # no row entered before this
        self._time = -1
        self._rows = self._bytes = 0

    def process(self, records: Records, now: int) -> Records:
        began = self._begin()
        done: Records = []
        rest = iter(records)
        try:
            for record in rest:
                self._take(record)
                if record.timestamp > self._time and not self._watermarked:
                    self._time = record.timestamp
                self._give(record.offset, done)
        except Exception as error:
            raise poison(self._step, records, rest, done) from error
        finally:
            self._end(began)
        return done

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Moves time. By the wall clock it moves, and is kept, only where that sends a row."""
        began = self._begin()
        done: Records = []
        if time > self._time:
            kept, self._time = self._time, time
            self._give(offset, done)
            if offset < 0 and not done and (self._rows, self._bytes) == began[1:]:
                self._time = kept
        self._end(began)
        return done

    def _begin(self) -> tuple[int, int, int]:
        """Reads time, rows and bytes."""
        began: Any = self._cache[CLOCK] or (-1, 0, 0)
        self._time, self._rows, self._bytes = began
        return began

    def _end(self, began: tuple[int, int, int]) -> None:
        state = (self._time, self._rows, self._bytes)
        if state != began:
            self._cache.put(CLOCK, state)

    def _take(self, record: Record[Any, Any]) -> None:
        """Puts a change into the buffer."""
        cache, key, bounds = self._cache, record.key, self._bounds
        old, new = (record.value.old, record.value.new) if self._updates_in else (None, record.value)
        size = 0 if self._size is None else self._size(key, new)
        held: Held | None = cache[HEAD, key]
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
        cache.put((HEAD, key), Held(record.timestamp, entered, size, record.headers, new, old))

    def _give(self, offset: int, done: Records) -> None:
        """Sends what was held back long enough, and what there is no room for."""
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

    def _remove(self, key: Any, held: Held) -> None:
        self._cache.delete((HEAD, key))
        self._cache.delete((held.entered, key))
        self._rows -= 1
        self._bytes -= held.size


def suppress_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Any, Any]:
    """How the buffer is stored."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: Any) -> bytes:
        place, inner = slot
        return window_key(place, b"" if inner is None else encode(inner))

    def decode_key(data: bytes) -> Any:
        place, inner = split_window_key(data)
        return CLOCK if place == CLOCK[0] else (place, decode(inner))

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is not Held:
            return auto.encode(entry)
        held: Held = entry
        pair = [None if side is None else value.encode(side) for side in (held.new, held.old)]
        return auto.encode([held.timestamp, held.entered, held.size, [list(pair) for pair in held.headers], *pair])

    def decode_value(data: bytes) -> Any:
        entry = auto.decode(data)
        if entry is True or len(entry) == 3:
            return entry if entry is True else tuple(entry)
        timestamp, entered, size, headers, *pair = entry
        new, old = (None if side is None else value.decode(side) for side in pair)
        return Held(timestamp, entered, size, tuple((name, content) for name, content in headers), new, old)

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key))


def suppress_view() -> StoreView:
    """People see the rows that are held back."""
    return StoreView(
        to_key=lambda key: (HEAD, key),
        from_key=lambda slot: slot[1],
        from_value=lambda held: held.new,
        timestamp=lambda held: held.timestamp,
        visible=lambda slot: slot[0] == HEAD,
    )
