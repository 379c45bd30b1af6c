"""Changes as records of a changelog topic, and back. Pure.

A record has the key of the change, its stored value (version byte included; null deletes) and, under at-least-once, two
headers: the input offsets that its commit was to reach, and who wrote it. By them a restore can leave out what no
committed offset stands for, and what was written by somebody who was not the owner any more. Exactly-once needs no
headers: a change that is read was committed. Topics, partitions and order are the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import msgspec

from .store import VERSION, Change, Corrupt, NewerFormat, Writer

__all__ = ["INPUTS_HEADER", "WRITER_HEADER", "ChangelogRecord", "covered", "decode", "encode", "writer_of"]

Headers: TypeAlias = "list[tuple[str, bytes]]"
ChangelogRecord: TypeAlias = "tuple[bytes, bytes | None, Headers | None]"
"""Key, value, headers."""

INPUTS_HEADER = "tidemill-inputs"
WRITER_HEADER = "tidemill-writer"


def encode(
    changes: Iterable[Change], inputs: Mapping[str, int] | None, writer: Writer | None = None
) -> list[ChangelogRecord]:
    """The records of one store's changes in one commit; `inputs`, by "topic:partition", where headers are wanted."""
    headers = None if inputs is None else [(INPUTS_HEADER, VERSION + msgspec.json.encode(inputs))]
    if headers is not None and writer is not None:
        headers.append((WRITER_HEADER, VERSION + msgspec.json.encode(writer)))
    return [(change.key, change.value, headers) for change in changes]


def decode(
    store: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]] | None = None,
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
    if committed is not None and headers and not covered(store, headers, committed):
        return None
    return Change(store, key, value)


def covered(store: str, headers: Sequence[tuple[str, bytes | None]], committed: Mapping[str, int]) -> bool:
    """Whether the commit that a record is of reached no further than the committed input offsets."""
    for name, raw in headers:
        if name == INPUTS_HEADER and raw is not None:
            for partition, offset in _inputs(store, raw).items():
                if offset > committed.get(partition, offset):
                    return False
    return True


def writer_of(store: str, headers: Sequence[tuple[str, bytes | None]]) -> Writer | None:
    """Who wrote a record, if it says so."""
    for name, raw in headers:
        if name == WRITER_HEADER and raw is not None:
            return _writer(store, raw)
    return None


@lru_cache(maxsize=16)
def _inputs(store: str, raw: bytes) -> dict[str, int]:
    """Decoded once a commit: all its records carry the same bytes."""
    if raw[:1] != VERSION:
        raise _unreadable(store, raw)
    return msgspec.json.decode(raw[1:], type=dict[str, int])


@lru_cache(maxsize=16)
def _writer(store: str, raw: bytes) -> Writer:
    if raw[:1] != VERSION:
        raise _unreadable(store, raw)
    return msgspec.json.decode(raw[1:], type=Writer)


def _unreadable(store: str, raw: bytes) -> NewerFormat:
    return NewerFormat(
        f"a record in the changelog of store {store!r} begins with version byte {raw[:1].hex() or 'none'}, this "
        f"Tidemill knows {VERSION.hex()}: it was written by a later version; upgrade, or reset the application"
    )
