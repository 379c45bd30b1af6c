"""Debezium's records in JSON, as Kafka Connect's `JsonConverter` writes them.

    with a schema (schemas.enable=true)   {"schema": {...}, "payload": {...}}
    without                               the payload alone

The payload of a change is its envelope, {"before", "after", "source", "op", "ts_ms", "transaction"}; that of a key, or
of a record that `ExtractNewRecordState` has flattened, is an object of columns.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from .change import ChangeTransaction, LogicalMessage, RowChange
from .columns import SchemaColumn, connect_column
from .rows import RowModel, RowReader, unavailable

__all__ = ["JsonChanges", "JsonPayloads"]

T = TypeVar("T")
NONE: Final = msgspec.Raw(b"")
NULLS: Final = (b"", b"null")
MOST_SCHEMAS: Final = 1_000


class Framed(msgspec.Struct, forbid_unknown_fields=True):
    """The two parts of a record with a schema."""

    schema: msgspec.Raw = NONE
    payload: msgspec.Raw = NONE


class ChangeEnvelope(msgspec.Struct):
    """A change, or the frame around one."""

    op: str = ""
    before: msgspec.Raw = NONE
    after: msgspec.Raw = NONE
    source: dict[str, Any] | None = None
    ts_ms: int | None = None
    transaction: ChangeTransaction | None = None
    message: msgspec.Raw = NONE
    schema: msgspec.Raw = NONE
    payload: msgspec.Raw = NONE


class JsonPayloads(Generic[T]):
    """What reads payloads of columns; makes one reader per schema, and keeps it."""

    def __init__(self, plain: T, reader: Callable[[SchemaColumn], T]) -> None:
        """Take the reader for records without a schema, and what makes one of a schema."""
        self._plain = plain
        self._reader = reader
        self._readers: dict[bytes, T] = {}
        self._framed = msgspec.json.Decoder(Framed).decode

    def split(self, data: bytes) -> tuple[T, msgspec.Raw]:
        """Return the reader of a record, and its payload."""
        if b'"payload"' in data:
            try:
                framed = self._framed(data)
            except msgspec.ValidationError:  # a column of that name
                return self._plain, msgspec.Raw(data)
            if framed.payload is not NONE and bytes(framed.schema)[:1] in (b"{", b"n", b""):
                return self.reader(framed.schema), framed.payload
        return self._plain, msgspec.Raw(data)

    def reader(self, schema: msgspec.Raw) -> T:
        """Return the reader for a schema as JSON."""
        text = bytes(schema)
        if text in NULLS:
            return self._plain
        found = self._readers.get(text)
        if found is None:
            try:
                column = connect_column(msgspec.json.decode(text))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"the schema of the record is not one of Kafka Connect ({error!r})") from error
            if len(self._readers) >= MOST_SCHEMAS:
                self._readers.clear()
            found = self._readers[text] = self._reader(column)
        return found


class JsonChanges:
    """The reader of changes in JSON."""

    def __init__(self, rows: RowModel, placeholder: str | None) -> None:
        self._rows = rows
        self._envelope = msgspec.json.Decoder(ChangeEnvelope).decode
        self._payloads = JsonPayloads[RowReader](rows.plain, self._of_schema)
        self.placeholder = placeholder
        self._marks = () if placeholder is None else (placeholder.encode(), base64.b64encode(placeholder.encode()))

    def _of_schema(self, envelope: SchemaColumn) -> RowReader:
        row = envelope.fields.get("after") or envelope.fields.get("before")
        return self._rows.plain if row is None else self._rows.reader(row)

    def _read(self, data: bytes) -> tuple[ChangeEnvelope, RowReader]:
        envelope = self._envelope(data)
        if envelope.op:
            return envelope, self._rows.plain
        if envelope.payload is not NONE:
            reader, envelope = self._payloads.reader(envelope.schema), self._envelope(envelope.payload)
            if envelope.op:
                return envelope, reader
        raise not_a_change()

    def change(self, data: bytes) -> RowChange[Any]:
        """Return the change that a record is."""
        envelope, row = self._read(data)
        after, missing = None, ()
        if bytes(envelope.after) not in NULLS:
            columns = row.columns(envelope.after)
            missing = self._missing(envelope.after, columns)
            after = row.of(columns)
        before, known = None, None
        if bytes(envelope.before) not in NULLS:
            before, known = partial_row(row, row.columns(envelope.before))
        message = (
            None if bytes(envelope.message) in NULLS else msgspec.json.decode(envelope.message, type=LogicalMessage)
        )
        return RowChange(
            operation(envelope.op),
            before,
            after,
            envelope.source or {},
            envelope.ts_ms,
            envelope.transaction,
            message,
            known,
            missing,
        )

    def row(self, data: bytes) -> Any:
        """Return the row after a change; None if it is deleted."""
        envelope, row = self._read(data)
        if gone(operation(envelope.op), envelope.source) or bytes(envelope.after) in NULLS:
            return None
        columns = row.columns(envelope.after)
        check_whole(self._missing(envelope.after, columns))
        return row.of(columns)

    def _missing(self, raw: msgspec.Raw, columns: dict[str, Any]) -> tuple[str, ...]:
        text = bytes(raw)
        if self.placeholder is None or not any(mark in text for mark in self._marks):
            return ()
        return unavailable(msgspec.json.decode(raw), self.placeholder)


def not_a_change() -> ValueError:
    """Return the error for a record that is no change."""
    return ValueError(
        "the record has no field 'op', so it is no change as Debezium writes it. If the connector flattens its records "
        "(ExtractNewRecordState), read them by tm.debezium(..., flattened=True)"
    )


def operation(op: str) -> Any:
    """Return a letter that is one of Debezium's; raise ValueError for another."""
    if op not in ("c", "u", "d", "r", "t", "m"):
        raise ValueError(f"the record has the operation {op!r}, and Debezium has c, u, d, r, t and m")
    return op


def gone(op: str, source: dict[str, Any] | None) -> bool:
    """Return whether a row is deleted; raise ValueError for what is no change of a row."""
    if op == "t":
        raise ValueError(
            f"{(source or {}).get('table')!r} was truncated, and a table has no key to delete: set "
            "skipped.operations=t in the connector and delete rows with DELETE, or read the topic as a stream"
        )
    if op == "m":
        raise ValueError("a logical message is no change of a row: read its topic as a stream")
    return op == "d"


def check_whole(missing: tuple[str, ...]) -> None:
    """Raise ValueError if a row has columns that are not known."""
    if missing:
        raise ValueError(
            f"the row lacks {', '.join(map(repr, missing))}, which PostgreSQL does not send unchanged (TOAST): set "
            "REPLICA IDENTITY FULL, or let Debezium's reselect post processor fetch it. tm.debezium(placeholder=None) "
            "takes Debezium's placeholder for the value"
        )


def partial_row(reader: RowReader, columns: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Return a row; or None, and the columns, if they do not make a whole one."""
    try:
        return reader.of(dict(columns)), None
    except (ValueError, TypeError):
        return None, columns
