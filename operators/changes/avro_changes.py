"""Debezium's records in Avro, as converters for Kafka Connect write them.

Confluent's and Apicurio's converters do. Values are read as they are stored, and get their meaning by `connect.name`,
as in JSON. A program writes the same envelope with the schema of the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, cast

import msgspec

from ..errors import TopologyError
from ..schemas.avro import avro_library
from ..schemas.avro_names import self_contained
from ..schemas.avro_types import avro_schema
from ..schemas.avro_values import writing
from ..schemas.models import is_model
from ..schemas.schema import Kind, Schema
from .change import ChangeTransaction, LogicalMessage, RowChange
from .columns import SchemaColumn, avro_column, without_logical_types
from .json_changes import check_whole, gone, not_a_change, operation, partial_row
from .rows import RowModel, RowReader, unavailable

__all__ = ["AvroChanges", "AvroColumns"]

TRANSACTION: Final = {
    "type": "record",
    "name": "block",
    "namespace": "event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "total_order", "type": "long"},
        {"name": "data_collection_order", "type": "long"},
    ],
}
MESSAGE: Final = {
    "type": "record",
    "name": "Message",
    "fields": [{"name": "prefix", "type": "string"}, {"name": "content", "type": "bytes"}],
}
SOURCE: Final = {"type": "map", "values": ["null", "boolean", "long", "double", "string"]}


class AvroData:
    """The Avro of one kind of record."""

    kind: Kind = "AVRO"
    indexes = b""
    name: str | None = None

    def __init__(self, model: Any, title: str, schema: Any) -> None:
        self.model = model
        self.title = title
        self._fastavro = avro_library(title)
        self.schema = None if schema is None else Schema("AVRO", json.dumps(schema))

    def _data(self, schema: Schema) -> tuple[Callable[[bytes], Any], SchemaColumn]:
        """Return what reads data as it is stored, and what it means."""
        whole = self_contained(json.loads(schema.text), {name: json.loads(text) for name, text in schema.texts.items()})
        column = avro_column(whole)
        stored = self._fastavro.parse_schema(without_logical_types(whole))
        read = self._fastavro.schemaless_reader

        def decode(data: bytes) -> Any:
            source = BytesIO(data)
            try:
                value = read(source, stored)
            except (EOFError, IndexError) as error:
                raise ValueError(f"the data ends before a value of its schema does ({error})") from None
            if source.read(1):
                raise ValueError("bytes are left after a value of the schema")
            return value

        return decode, column

    def writer(self, schema: Schema) -> Callable[[Any], bytes]:
        """Return the function that writes by a schema."""
        parsed, write = self._fastavro.parse_schema(json.loads(schema.text)), self._fastavro.schemaless_writer
        data = writing(parsed)

        def encode(value: Any) -> bytes:
            to = BytesIO()
            write(to, parsed, data(self.outgoing(value)))
            return to.getvalue()

        return encode

    def outgoing(self, value: Any) -> Any:
        """Return what is written for a value."""
        return value


class AvroColumns(AvroData):
    """Records of columns: keys, and values that are flattened."""

    def __init__(
        self,
        model: Any,
        title: str,
        schema: Any,
        reader: Callable[[SchemaColumn], Callable[[Any], Any]],
        wrap: Callable[[Any], Any],
    ) -> None:
        """Prepare it; `reader` makes the reader of a schema, `wrap` the columns of a value to write."""
        super().__init__(model, title, schema)
        self._reader = reader
        self._wrap = wrap

    def reader(self, schema: Schema, indexes: tuple[int, ...] = ()) -> Callable[[bytes], Any]:
        """Return the function that reads what was written by a schema."""
        decode, column = self._data(schema)
        make = self._reader(column)
        return lambda data: make(decode(data))

    def outgoing(self, value: Any) -> Any:
        return self._wrap(value)


class AvroChanges(AvroData):
    """Changes in Avro, read as changes or as rows."""

    def __init__(self, rows: RowModel, title: str, placeholder: str | None, *, as_rows: bool) -> None:
        super().__init__(rows.model, title, envelope_schema(rows.model, title))
        self._rows = rows
        self._placeholder = placeholder
        self._as_rows = as_rows

    def reader(self, schema: Schema, indexes: tuple[int, ...] = ()) -> Callable[[bytes], Any]:
        """Return the function that reads what was written by a schema."""
        decode, column = self._data(schema)
        of = column.fields.get("after") or column.fields.get("before")
        row = self._rows.plain if of is None else self._rows.reader(of)
        read = self._row if self._as_rows else self._change

        def convert(data: bytes) -> Any:
            envelope = decode(data)
            if envelope.__class__ is not dict or "op" not in envelope:
                raise not_a_change()
            return read(envelope, row)

        return convert

    def _missing(self, columns: dict[str, Any]) -> tuple[str, ...]:
        return () if self._placeholder is None else unavailable(columns, self._placeholder)

    def _row(self, envelope: dict[str, Any], row: RowReader) -> Any:
        after = envelope.get("after")
        if gone(operation(envelope["op"]), envelope.get("source")) or after is None:
            return None
        check_whole(self._missing(after))
        return row(after)

    def _change(self, envelope: dict[str, Any], row: RowReader) -> RowChange[Any]:
        after, missing = envelope.get("after"), ()
        if after is not None:
            missing = self._missing(after)
            after = row(after)
        before, known = envelope.get("before"), None
        if before is not None:
            before, known = partial_row(row, row.columns(before))
        message, transaction = envelope.get("message"), envelope.get("transaction")
        return RowChange(
            operation(envelope["op"]),
            before,
            after,
            envelope.get("source") or {},
            envelope.get("ts_ms"),
            None if transaction is None else msgspec.convert(transaction, ChangeTransaction),
            None if message is None else msgspec.convert(message, LogicalMessage),
            known,
            missing,
        )

    def outgoing(self, value: Any) -> Any:
        change = outgoing_change(value, self.model, self.title)
        return {
            "before": change.before,
            "after": change.after,
            "source": dict(change.source) or None,
            "op": change.op,
            "ts_ms": change.ts_ms,
            "transaction": None if change.transaction is None else msgspec.structs.asdict(change.transaction),
            "message": None if change.message is None else msgspec.structs.asdict(change.message),
        }


def outgoing_change(value: Any, model: Any, title: str) -> RowChange[Any]:
    """Return what is written for a change or a row; raise TypeError for anything else."""
    if isinstance(value, RowChange):
        return cast("RowChange[Any]", value)
    if model is Any or (is_model(model) and (isinstance(value, dict) or is_model(value.__class__))):
        return RowChange("c", None, cast("Any", value))
    raise TypeError(f"{title} writes tm.RowChange objects, and the rows of a table, not {value!r}")


def envelope_schema(model: Any, title: str) -> Any:
    """Return the schema of the envelope of a model's rows, None for plain objects."""
    if model is Any:
        return None
    try:
        row = avro_schema(model, None, title)
    except TopologyError:
        return None  # Avro cannot have it, so nothing can be written; it can be read
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": "tidemill",
        "fields": [
            {"name": "before", "type": ["null", row], "default": None},
            {"name": "after", "type": ["null", f"{row['name']}"], "default": None},
            {"name": "source", "type": ["null", SOURCE], "default": None},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"], "default": None},
            {"name": "transaction", "type": ["null", TRANSACTION], "default": None},
            {"name": "message", "type": ["null", MESSAGE], "default": None},
        ],
    }
