"""Changes as records of a changelog topic, and back. Pure.

A record has the key of the change, its stored value (version byte included; null deletes) and, under at-least-once, a
header with the input offsets that its commit was to reach, so that a restore can leave out what no committed offset
stands for. Exactly-once needs no header: a change that is read was committed. Topics, partitions and order are the
engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import msgspec

from .store import VERSION, Change, Corrupt, NewerFormat

__all__ = ["INPUTS_HEADER", "ChangelogRecord", "decode", "encode"]

Headers: TypeAlias = "list[tuple[str, bytes]]"
ChangelogRecord: TypeAlias = "tuple[bytes, bytes | None, Headers | None]"
"""Key, value, headers."""

INPUTS_HEADER = "tidemill-inputs"


def encode(changes: Iterable[Change], inputs: Mapping[str, int] | None) -> list[ChangelogRecord]:
    """The records of one store's changes in one commit; `inputs`, by "topic:partition", where a header is wanted."""
    headers = None if inputs is None else [(INPUTS_HEADER, VERSION + msgspec.json.encode(inputs))]
    return [(change.key, change.value, headers) for change in changes]


def decode(
    store: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]] | None = None,
    committed: Mapping[str, int] | None = None,
) -> Change | None:
    """The change of a record; None if it belongs to a commit that reached beyond the committed input offsets.

    Without `committed` every record counts. Raises `NewerFormat` or `Corrupt` for a record that is not ours to read.
    """
    if key is None:
        raise Corrupt(
            f"the changelog of store {store!r} has a record without a key, which Tidemill never writes: "
            "something else writes to the topic; stop it and reset the application"
        )
    if value is not None and value[:1] != VERSION:
        raise _unreadable(store, value)
    if committed is not None and headers:
        for name, raw in headers:
            if name == INPUTS_HEADER:
                for partition, offset in _inputs(store, raw).items():
                    if offset > committed.get(partition, offset):
                        return None
    return Change(store, key, value)


@lru_cache(maxsize=16)
def _inputs(store: str, raw: bytes) -> dict[str, int]:
    """Decoded once a commit: all its records carry the same bytes."""
    if raw[:1] != VERSION:
        raise _unreadable(store, raw)
    return msgspec.json.decode(raw[1:], type=dict[str, int])


def _unreadable(store: str, raw: bytes) -> NewerFormat:
    return NewerFormat(
        f"a record in the changelog of store {store!r} begins with version byte {raw[:1].hex() or 'none'}, this "
        f"Tidemill knows {VERSION.hex()}: it was written by a later version; upgrade, or reset the application"
    )
