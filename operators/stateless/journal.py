"""The journal of asynchronous calls: waiting records with call keys and results.

An entry is written twice: with its record, before the call is made, and with the result, before the result is sent.

    encoded key:   8 bytes, the number of the record
    encoded value: msgpack of (record as by `pending.py`, call key, result), where the result is [bytes or nil] or nil
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from ...state.cache import Codec
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..record import Record
from ..serdes.base import Serde
from .pending import pending_codec

__all__ = ["JournalEntry", "journal_codec", "journal_view"]


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """A record that waits in a step."""

    record: Record[Any, Any]
    call: str
    """The key of its call."""
    result: tuple[bytes | None] | None = None
    """The encoded result of its call, in a tuple since it may be None; None without a result."""


class _StoredEntry(msgspec.Struct, array_like=True):
    record: bytes
    call: str
    result: tuple[bytes | None] | None


def journal_codec(key: Serde[Any], value: Serde[Any]) -> Codec[int, JournalEntry]:
    """Return the codec of entries by number, for records with these serdes."""
    records = pending_codec(key, value)
    pending = records.placement
    assert pending is not None
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_StoredEntry)

    def encode(entry: JournalEntry) -> bytes:
        return encoder.encode(_StoredEntry(records.encode_value(entry.record), entry.call, entry.result))

    def decode(data: bytes) -> JournalEntry:
        stored = decoder.decode(data)
        return JournalEntry(records.decode_value(stored.record), stored.call, stored.result)

    def key_of(raw: bytes, stored: bytes) -> bytes | None:
        return pending.key(raw, decoder.decode(stored).record)

    placement = replace(pending, key=key_of)
    return Codec(records.encode_key, records.decode_key, encode, decode, exact=True, placement=placement)


def journal_view() -> StoreView:
    """Return the view for queries, which shows nothing: the records are in transit."""
    return StoreView(
        visible=lambda _number: False,
        rows=lambda _number, entry: (StoreRow(entry.record.key, entry.record.value, entry.record.timestamp),),
    )
