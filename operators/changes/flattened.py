"""Records that `ExtractNewRecordState` of Debezium has flattened: rows without an envelope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import msgspec
from typing_extensions import TypeVar

from ..errors import TopologyError
from ..schemas.avro_types import avro_schema
from ..schemas.local import local_value
from ..schemas.schema import Schemas
from ..schemas.subjects import Role
from ..schemas.wire import TopicSerde, WireOptions
from ..serdes.base import Serde, is_closed
from .avro_changes import AvroColumns
from .columns import SchemaColumn
from .json_changes import JsonPayloads, check_whole
from .rows import RowModel, RowReader, unavailable
from .serde import Topical
from .writing import row_data

__all__ = ["Flattened"]

T = TypeVar("T", default=Any)
DELETED = "__deleted"
"""The column that delete.tombstone.handling.mode=rewrite adds."""


class Flattened(Generic[T]):
    """The serde of rows without an envelope; None is a deletion."""

    def __init__(self, model: Any, schemas: Schemas | None, placeholder: str | None, title: str) -> None:
        local = local_value(model)
        self.model = model
        self.closed = is_closed(local)
        self.typed: bool = getattr(local, "typed", False)
        self.encode: Callable[[T], bytes] = local.encode
        self.decode: Callable[[bytes], T] = local.decode
        self._title = title
        self._schemas = schemas
        self._placeholder = placeholder
        self._rows = RowModel(model, title)

    def as_key(self) -> Serde[Any]:
        """Raise TopologyError: rows are values."""
        raise TopologyError(f"{self!r} is a serde of values: keys of Debezium are read by tm.debezium_key")

    def in_topic(self, topic: str | None, role: Role) -> Serde[Any]:
        """Return the serde of a topic."""
        if self._schemas is None:
            payloads = JsonPayloads[RowReader](self._rows.plain, self._rows.reader)
            columns = row_data(self._rows)

            def decode(data: bytes) -> Any:
                reader, payload = payloads.split(data)
                return self._row(reader, payload)

            return Topical(self, decode, lambda row: msgspec.json.encode(columns(row)))
        form = AvroColumns(self.model, self._title, self._schema(), self._reader, lambda row: row)
        return TopicSerde(form, self._schemas, WireOptions(), self, topic, role)

    def _reader(self, column: SchemaColumn) -> Callable[[Any], Any]:
        reader = self._rows.reader(column)
        return lambda raw: self._row(reader, raw)

    def _row(self, reader: RowReader, raw: Any) -> Any:
        columns: Any = msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw
        if columns is None or (columns.__class__ is dict and str(columns.get(DELETED)).lower() == "true"):
            return None
        if self._placeholder is not None and columns.__class__ is dict:
            check_whole(unavailable(columns, self._placeholder))
        row = reader.columns(raw)
        row.pop(DELETED, None)
        return reader.of(row)

    def _schema(self) -> Any:
        if self.model is Any:
            return None
        try:
            return avro_schema(self.model, None, self._title)
        except TopologyError:
            return None  # nothing can be written; it can be read

    def __repr__(self) -> str:
        return self._title
