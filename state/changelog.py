"""Conversion between changes and records of a changelog topic. Pure.

A record has the key of the change, its stored value (including the version byte; null deletes) and, under
at-least-once, two headers: the input offsets that its commit was meant to reach, and the id of its writer. With them, a
restore can leave out records of inputs that were never committed, and records that a former owner wrote after losing
the task. Exactly-once needs no headers: every change that is read was committed. The engine decides on topics,
partitions and order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import TypeAlias, cast

import msgspec

from .changes import Changes, Column
from .store import VERSION, Change, CorruptStore, NewerFormat, WriterId

__all__ = [
    "INPUTS_HEADER",
    "WRITER_HEADER",
    "ChangelogRecord",
    "behind",
    "covered",
    "decode",
    "decode_column",
    "encode",
    "writer_of",
]

Headers: TypeAlias = "list[tuple[str, bytes]]"
ChangelogRecord: TypeAlias = "tuple[bytes, bytes | None, Headers | None]"
"""Key, value, headers."""

INPUTS_HEADER = "tidemill-inputs"
WRITER_HEADER = "tidemill-writer"
_FIRST = itemgetter(0)


def encode(
    changes: Iterable[Change], inputs: Mapping[str, int] | None, writer: WriterId | None = None
) -> list[ChangelogRecord]:
    """Return the records of one store's changes in one commit.

    With `inputs`, keyed by "topic:partition", the records have headers.
    """
    headers = None if inputs is None else [(INPUTS_HEADER, VERSION + msgspec.json.encode(inputs))]
    if headers is not None and writer is not None:
        headers.append((WRITER_HEADER, VERSION + msgspec.json.encode(writer)))
    columns = Changes.of(changes).columns
    return [record for column in columns for record in zip(column.keys, column.values, repeat(headers))]


def decode(
    store: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]] | None = None,
    committed: Mapping[str, int] | None = None,
) -> Change | None:
    """Return the change of a record, or None if its commit went beyond the committed offsets.

    Without `committed`, every record counts. Raises `NewerFormat` or `CorruptStore` for a record that this version
    cannot read.
    """
    if key is None:
        raise CorruptStore(
            f"the changelog of store {store!r} has a record without a key, which Tidemill never writes: "
            "another program writes to the topic; stop it and reset the application"
        )
    if value is not None and value[:1] != VERSION:
        raise _unreadable(store, value)
    if committed is not None and headers and not covered(store, headers, committed):
        return None
    return Change(store, key, value)


def decode_column(store: str, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> Column:
    """Return the changes of records that are all valid, as `decode` does for one."""
    if not _readable(keys, values):
        for key, value in zip(keys, values, strict=True):
            decode(store, key, value)
    return Column(store, cast("list[bytes]", keys), list(values))


def _readable(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> bool:
    written = list(filter(None, values))
    empty = len(values) - len(written) - values.count(None)
    return None not in keys and not empty and set(map(_FIRST, written)) <= {VERSION[0]}


def covered(store: str, headers: Sequence[tuple[str, bytes | None]], committed: Mapping[str, int]) -> bool:
    """Return whether a record's commit reached no further than the committed input offsets."""
    for name, raw in headers:
        if name == INPUTS_HEADER and raw is not None:
            for partition, offset in _inputs(store, raw).items():
                if offset > committed.get(partition, offset):
                    return False
    return True


def behind(store: str, headers: Sequence[tuple[str, bytes | None]], committed: Mapping[str, int]) -> bool:
    """Return whether a record is of a commit before that of the committed input offsets.

    A record without input offsets is: its commit was a transaction.
    """
    for name, raw in headers:
        if name == INPUTS_HEADER and raw is not None:
            known = [
                (at, committed[partition]) for partition, at in _inputs(store, raw).items() if partition in committed
            ]
            return any(at < now for at, now in known) and all(at <= now for at, now in known)
    return True


def writer_of(store: str, headers: Sequence[tuple[str, bytes | None]]) -> WriterId | None:
    """Return the id of a record's writer, or None if the record has no such header."""
    for name, raw in headers:
        if name == WRITER_HEADER and raw is not None:
            return _writer(store, raw)
    return None


@lru_cache(maxsize=16)
def _inputs(store: str, raw: bytes) -> dict[str, int]:
    """Decode the input offsets, once per commit: all its records carry the same bytes."""
    if raw[:1] != VERSION:
        raise _unreadable(store, raw)
    return msgspec.json.decode(raw[1:], type=dict[str, int])


@lru_cache(maxsize=16)
def _writer(store: str, raw: bytes) -> WriterId:
    if raw[:1] != VERSION:
        raise _unreadable(store, raw)
    return msgspec.json.decode(raw[1:], type=WriterId)


def _unreadable(store: str, raw: bytes) -> NewerFormat:
    return NewerFormat(
        f"a record in the changelog of store {store!r} begins with version byte {raw[:1].hex() or 'none'}, but this "
        f"version of Tidemill reads {VERSION.hex()}: a later version wrote it; upgrade, or reset the application"
    )
