"""The entries of keyed steps: state and event time under a key, their codecs and views.

An entry is `(timestamp, *slots)`; the slots are those of the fold. Windowed steps also store bookkeeping entries, under
keys that sort before all windows: the clock, which is the step's stream time, and others. An encoded entry is 8 bytes
of timestamp and the slots; an entry with only a time, such as the clock, is the complement of that time; a head, the
list of the times of a key, begins with the smallest 8-byte number.

    (CLOCK)  (DUE)  (WAIT, slot)  (NEWEST)  (HEAD, key)   |   (start, key), or (end, start, key) of a session
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from struct import Struct, pack, unpack_from
from typing import Any, Final

from ...state.cache import Codec
from ...state.codec import WindowCodec
from ...state.keys import BIAS, START, split_window_key, window_key
from ...state.store import VERSION, NewerFormat, frame
from ..errors import TopologyError
from ..graph.store_loading import NOT_LOADED, Loading
from ..graph.topology import StoreView
from ..record import Windowed
from ..serdes.base import Serde, column_encoder, is_exact
from .placements import placed, plain_placement

__all__ = [
    "BOOKS",
    "DUE",
    "HEAD",
    "MIGRATED",
    "NEWEST_START_KEY",
    "STORED",
    "STREAM_TIME_KEY",
    "WAIT",
    "Entry",
    "Head",
    "KeepColumn",
    "clock_of",
    "guarded",
    "keyed_codec",
    "keyed_view",
    "serde_column",
    "serde_entry",
    "session_codec",
    "session_view",
    "sliding_codec",
    "stored_entry",
    "stream_clock",
    "windowed_codec",
    "windowed_view",
]

Entry = tuple[Any, ...]
Keep = Callable[[Entry], bytes]
Restore = Callable[[bytes], Entry]
KeepColumn = Callable[[list[Entry]], "list[bytes | None]"]
"""From entries to their stored form."""

FIRST: Final = -(1 << 62)
STREAM_TIME_KEY: Final = (FIRST, None)
"""The key of the stream time of a windowed step."""
DUE: Final = (FIRST + 1, None)
"""The key of the wall-clock time at which waiting results are due."""
WAIT: Final = FIRST + 2
"""`(WAIT, slot)` is the key of a waiting result."""
NEWEST_START_KEY: Final = (FIRST + 3, None)
"""The key of the newest start of a sliding window."""
HEAD: Final = FIRST + 4
"""`(HEAD, key)` is the key of the head of a key."""
CLOCKS: Final = FIRST + 16
MIGRATED: Final = 0x7F
"""The first byte of an encoded entry whose value has had migrations: see `migration.py`."""
LATEST: Final = MIGRATED << 56
"""Times are before this."""
BOOKS: Final = FIRST + (1 << 20)
"""Windows start after this; keys of bookkeeping entries are before."""

_TIME = Struct(">q")
STORED: Final = Struct(">cq")
"""The version and the timestamp, with which a stored entry begins."""
_HEAD: Final = _TIME.pack(-(1 << 63))


def stream_clock(stream: int) -> tuple[int, None]:
    """Return the key of the clock of one of several streams, by its number."""
    return CLOCKS + stream, None


class Head(tuple[int, ...]):
    """The times under which a key has entries, oldest first."""

    __slots__ = ()


def clock_of(entry: Entry | None) -> int:
    """Return the stream time of a clock entry; -1 before the first record."""
    return -1 if entry is None else entry[0]


def serde_entry(serde: Serde[Any]) -> tuple[Keep, Restore]:
    """Return the codec functions of entries with one slot."""
    encode, decode = serde.encode, serde.decode
    return lambda entry: encode(entry[1]), lambda data: (decode(data),)


def serde_column(serde: Serde[Any]) -> KeepColumn:
    """For entries with one slot that this serde encodes."""
    encode, head = serde.encode, STORED.pack
    return lambda entries: [head(VERSION, time) + encode(value) for time, value in entries]


def stored_entry(timestamp: int, value: bytes) -> bytes:
    """Return the stored form of an entry with one slot that is already encoded."""
    return frame(_TIME.pack(timestamp) + value)


def keyed_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[Any, Entry]:
    """Return the codec of entries under plain keys."""
    return Codec(key.encode, key.decode, *_entry(keep, restore), is_exact(key), placement=plain_placement(key))


def windowed_codec(
    key: Serde[Any], keep: Keep, restore: Restore, keep_column: KeepColumn | None = None
) -> Codec[tuple[int, Any], Entry]:
    """Return the codec of entries under (start, key) that are cached by window.

    It pays where many keys have windows with the same start.
    """
    codec = sliding_codec(key, keep, restore)

    def one_by_one(entries: list[Entry]) -> list[bytes | None]:
        return [stored_entry(entry[0], keep(entry)) for entry in entries]

    def encode_keys(keys: list[Any]) -> list[bytes]:
        return encode_column(keys)  # pyright: ignore[reportReturnType]  # no key is None

    encode_column = column_encoder(key)
    return replace(codec, windows=WindowCodec(BOOKS, key.encode, key.decode, encode_keys, keep_column or one_by_one))


def sliding_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[tuple[int, Any], Entry]:
    """Entries under (start, key), where each key has windows of its own."""
    encode, decode, prefix, head = key.encode, key.decode, START.pack, window_key(HEAD, b"")

    def encode_key(slot: tuple[int, Any]) -> bytes:
        start, inner = slot
        if start > BOOKS:
            return prefix(start + BIAS) + encode(inner)
        return head + encode(inner) if start == HEAD else _encode_book(slot, encode, encode_key)

    def decode_key(data: bytes) -> tuple[int, Any]:
        start, inner = split_window_key(data)
        return (start, decode(inner)) if start > BOOKS else _decode_book(start, inner, decode, decode_key)

    placement = placed(key, key_in_window, merged_books)
    return Codec(encode_key, decode_key, *_entry(keep, restore), is_exact(key), placement=placement)


def session_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[tuple[Any, ...], Entry]:
    """Return the codec of entries under (end, start, key)."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: tuple[Any, ...]) -> bytes:
        end = slot[0]
        if end <= BOOKS:
            return _encode_book(slot, encode, encode_key)
        return window_key(end, window_key(slot[1], encode(slot[2])))

    def decode_key(data: bytes) -> tuple[Any, ...]:
        end, inner = split_window_key(data)
        if end <= BOOKS:
            return _decode_book(end, inner, decode, decode_key)
        start, inner = split_window_key(inner)
        return end, start, decode(inner)

    placement = placed(key, key_in_session, merged_books)
    return Codec(encode_key, decode_key, *_entry(keep, restore), is_exact(key), placement=placement)


def _encode_book(slot: tuple[Any, ...], encode: Callable[[Any], bytes], encode_slot: Callable[[Any], bytes]) -> bytes:
    book, inner = slot
    if book == WAIT:
        return window_key(book, encode_slot(inner))
    return window_key(book, encode(inner) if book == HEAD else b"")


def _decode_book(
    book: int, data: bytes, decode: Callable[[bytes], Any], decode_slot: Callable[[bytes], Any]
) -> tuple[int, Any]:
    if book == WAIT:
        return book, decode_slot(data)
    return book, decode(data) if book == HEAD else None


def key_in_window(data: bytes) -> bytes | None:
    """Return the key in an encoded (start, key); None for a bookkeeping entry of the task."""
    start, inner = split_window_key(data)
    if start > BOOKS or start == HEAD:
        return inner
    return key_in_window(inner) if start == WAIT else None


def key_in_session(data: bytes) -> bytes | None:
    """Return the key in an encoded (end, start, key); None for a bookkeeping entry of the task."""
    end, inner = split_window_key(data)
    if end > BOOKS:
        return split_window_key(inner)[1]
    if end == HEAD:
        return inner
    return key_in_session(inner) if end == WAIT else None


def merged_books(slot: Any, entries: Sequence[Entry]) -> Entry:
    """Return the entry of a task that takes over from several: newest time, earliest due time."""
    return min(entries) if slot == DUE else max(entries)


def keyed_view(shown: Callable[[Entry], Any], loading: Loading | str = NOT_LOADED) -> StoreView:
    """Return the view for queries: the result under the key."""
    return StoreView(from_value=shown, timestamp=_timestamp, loading=loading)


def windowed_view(
    end: Callable[[int], int], shown: Callable[[Entry], Any], loading: Loading | str = NOT_LOADED
) -> StoreView:
    """Return the view for queries: results by windowed key; `end` maps a start to its end."""
    return StoreView(
        to_key=lambda windowed: (windowed.start, windowed.key),
        from_key=lambda slot: Windowed(slot[1], slot[0], end(slot[0])),
        from_value=shown,
        timestamp=_timestamp,
        visible=lambda slot: slot[0] > BOOKS,
        loading=loading,
    )


def session_view(shown: Callable[[Entry], Any], loading: Loading | str = NOT_LOADED) -> StoreView:
    """Return the view for queries: the result under the key and session."""
    return StoreView(
        to_key=lambda windowed: (windowed.end, windowed.start, windowed.key),
        from_key=lambda slot: Windowed(slot[2], slot[1], slot[0]),
        from_value=shown,
        timestamp=_timestamp,
        visible=lambda slot: slot[0] > BOOKS,
        loading=loading,
    )


def _entry(keep: Keep, restore: Restore) -> tuple[Callable[[Entry], bytes], Callable[[bytes], Entry]]:
    time, time_of = _TIME.pack, _TIME.unpack_from

    def encode_value(entry: Entry) -> bytes:
        if entry.__class__ is Head:
            return _HEAD + pack(f">{len(entry)}q", *entry)
        return time(~entry[0]) if len(entry) == 1 else time(entry[0]) + keep(entry)

    def decode_value(data: bytes) -> Entry:
        timestamp: int = time_of(data)[0]
        if 0 <= timestamp < LATEST:
            return timestamp, *restore(data[8:])
        if timestamp >= LATEST:
            raise NewerFormat(
                f"a stored value had {data[1]} migrations, and the program has no migrate= for its step: a later "
                "version wrote it. Functions stay in migrate= as long as the application lives; start that version "
                "again"
            )
        return Head(unpack_from(f">{len(data) // 8 - 1}q", data, 8)) if data[:8] == _HEAD else (~timestamp,)

    return encode_value, decode_value


def guarded(codec: Codec[Any, Any], store: str) -> Codec[Any, Any]:
    """Return the codec with errors that name the store.

    The store is encoded long after the record was processed, so the error could not be traced otherwise.
    """
    encode = codec.encode_value

    def encode_value(entry: Any) -> bytes:
        try:
            return encode(entry)
        except Exception as error:
            raise TopologyError(f"store {store!r} cannot keep {entry!r}: {type(error).__name__}: {error}") from error

    return replace(codec, encode_value=encode_value)


def _timestamp(entry: Entry) -> int:
    return entry[0]
