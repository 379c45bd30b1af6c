"""The rows of a store, over all tasks that have a part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import orjson

from ...operators.graph.store_rows import StoreRow
from ...operators.record import Windowed
from ...state.store import unframe
from ..errors import ConfigError
from .parts import DeclaredStore, OpenPart
from .plain import plain

__all__ = ["DumpedRow", "StateSource", "batches", "dump", "lookup"]

BATCH_BYTES = 16 << 20
BATCH_ROWS = 50_000
"""Bounds of the rows that are in memory at a time; bytes as stored."""


class StateSource(Protocol):
    """Where state is read from."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    def parts(self, declared: DeclaredStore) -> Iterator[OpenPart]:
        """Open the parts of a store one after the other."""
        ...


class DumpedRow(NamedTuple):
    """A row of a store, and where it is from."""

    row: StoreRow
    task: str
    worker: str
    size: int
    """Bytes of its entry, as stored."""


def dump(source: StateSource, declared: DeclaredStore) -> Iterator[DumpedRow]:
    """Yield all rows of a store, task by task, in the order of their encoded keys.

    Raises ConfigError if an entry was written by another program.
    """
    for part in source.parts(declared):
        for raw_key, raw_value in part.store.scan(part.name, b"", None):
            yield from rows_of(declared, part, raw_key, raw_value)


def lookup(source: StateSource, declared: DeclaredStore, wanted: str) -> Iterator[DumpedRow]:
    """Yield the rows of a key, which is the text itself, or the text parsed as JSON.

    For a windowed store, these are the rows of all windows.
    """
    codec, view = declared.state.codec, declared.state.view
    meant = candidates(wanted)
    raw_keys = set[bytes]()
    if view.rows is None:
        raw_keys = {raw for key in meant for raw in encoded(codec.encode_key, view.to_key, key)}
    found = False
    for part in source.parts(declared) if raw_keys else ():
        for raw_key in raw_keys:
            raw_value = part.store.get(part.name, raw_key)
            if raw_value is not None:
                found = True
                yield from rows_of(declared, part, raw_key, raw_value)
    if not found:
        yield from (row for row in dump(source, declared) if plain(inner(row.row.key)) in meant)


def batches(rows: Iterable[DumpedRow]) -> Iterator[list[DumpedRow]]:
    """Divide rows into lists that fit into memory, whatever their sizes."""
    batch: list[DumpedRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if size >= BATCH_BYTES or len(batch) >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def rows_of(declared: DeclaredStore, part: OpenPart, raw_key: bytes, raw_value: bytes) -> list[DumpedRow]:
    """Return the rows of an entry. Raises ConfigError if it was written by another program."""
    codec, size = declared.state.codec, len(raw_key) + len(raw_value)
    try:
        found = declared.state.view.dumped(codec.decode_key(raw_key), codec.decode_value(unframe(raw_value)))
        return [DumpedRow(row, part.task, part.worker, size) for row in found]
    except Exception as error:  # whatever a serde raises
        where = f"task {part.task} of {part.worker}" if part.worker else f"task {part.task}"
        raise ConfigError(
            f"an entry of store {declared.name!r} in {where} cannot be decoded: {error}; it was written by a program "
            "with other serdes, or by another version of Tidemill"
        ) from error


def inner(key: Any) -> Any:
    """Return the key inside a windowed key, or the key itself."""
    return key.key if isinstance(key, Windowed) else key  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def candidates(wanted: str) -> list[Any]:
    """Return the keys that a text may mean."""
    meant: list[Any] = [wanted]
    with suppress(orjson.JSONDecodeError):
        meant.append(orjson.loads(wanted))
    return meant


def encoded(encode: Callable[[Any], bytes], to_key: Callable[[Any], Any], key: Any) -> list[bytes]:
    """Return the key as bytes; nothing if it cannot be a key of this store."""
    try:
        return [encode(to_key(key))]
    except Exception:  # a serde may raise anything for another type of key
        return []
