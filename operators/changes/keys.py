"""The keys of Debezium's records: the columns of the primary key."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable
from typing import Any, Final, Generic, cast

import msgspec
from typing_extensions import TypeVar

from ..errors import TopologyError
from ..schemas.avro_types import avro_schema
from ..schemas.local import LocalKey, immutable
from ..schemas.models import is_model
from ..schemas.schema import Schemas
from ..schemas.subjects import Role
from ..schemas.wire import TopicSerde, WireOptions
from ..serdes.base import Serde, int64, utf8, uuid
from ..serdes.json import to_builtin
from .avro_changes import AvroColumns
from .columns import SchemaColumn
from .conversions import conversion, undeclared
from .json_changes import JsonPayloads
from .rows import RowModel
from .serde import Topical

__all__ = ["DebeziumKey"]

K = TypeVar("K", default=Any)
Read = Callable[[Any], Any]
PLAIN: Final[dict[type, Serde[Any]]] = {str: utf8, int: int64, uuids.UUID: uuid}
"""The local form of keys as other topics have them, so that they can be joined without a repartition of those."""


class DebeziumKey(Generic[K]):
    """The serde of keys, made by `tm.debezium_key`."""

    hashable = scattered = True

    def __init__(self, model: Any, schemas: Schemas | None, field: str, title: str) -> None:
        """Prepare it; `field` is the column that is written for a key that is no object."""
        self.like: Serde[Any] | None = PLAIN.get(model) if isinstance(model, type) else None
        local: Serde[Any] = LocalKey(model, title) if self.like is None else self.like
        self.model = model
        self.encode: Callable[[K], bytes] = local.encode
        self.decode: Callable[[bytes], K] = local.decode
        self._title = title
        self._schemas = schemas
        self._field = field
        self._rows = RowModel(model, title) if model is Any or is_model(model) else None

    def in_topic(self, topic: str | None, role: Role) -> Serde[Any]:
        """Return the serde of a topic's keys."""
        if self._schemas is None:
            payloads = JsonPayloads[Read](self._reader(None), self._reader)

            def decode(data: bytes) -> Any:
                read, payload = payloads.split(data)
                return read(payload)

            return Topical(self, decode, self._encode)
        form = AvroColumns(self.model, self._title, self._schema(), self._reader, self._columns)
        return TopicSerde(form, self._schemas, WireOptions(), self, topic, role)

    def _reader(self, column: SchemaColumn | None) -> Read:
        """Return the reader of keys with the columns of a schema."""
        if self._rows is not None:
            rows = self._rows.plain if column is None else self._rows.reader(column)
            return lambda raw: immutable(rows(raw))
        model: Any = self.model
        only = column
        if column is not None and column.fields:
            only = next(iter(column.fields.values()))
        convert = undeclared(model) if only is None else conversion(only, model)

        def read(raw: Any) -> Any:
            value = _only(msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else raw, self._title)
            return msgspec.convert(value if convert is None or value is None else convert(value), type=model)

        return read

    def _columns(self, key: Any) -> Any:
        return key if self._rows is not None else {self._field: key}

    def _encode(self, key: Any) -> bytes:
        return msgspec.json.encode(self._columns(key), enc_hook=to_builtin)

    def _schema(self) -> Any:
        if self.model is Any:
            return None
        try:
            made = avro_schema(self.model, None, self._title)
        except TopologyError:
            return None  # nothing can be written; it can be read
        if self._rows is not None:
            return made
        return {"type": "record", "name": "Key", "fields": [{"name": self._field, "type": made}]}

    def __repr__(self) -> str:
        return self._title


def _only(data: Any, title: str) -> Any:
    """Return the value of the only column; raise ValueError if there are others."""
    if not isinstance(data, dict):
        return data  # a connector with the transformation ExtractField$Key
    columns = cast("dict[str, Any]", data)
    if len(columns) != 1:
        raise ValueError(
            f"the key has the columns {', '.join(map(repr, columns))}, and {title} reads one: give tm.debezium_key a "
            "frozen model with these fields"
        )
    return next(iter(columns.values()))
