"""Avro: values as bytes by a schema, resolved from the writer's to the reader's.

fastavro reads and writes. What a reader needs is made once for each schema that records were written by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from io import BytesIO
from typing import Any, cast

from ..errors import TopologyError
from .avro_names import aligned, self_contained
from .avro_types import avro_schema
from .avro_values import reading, writing
from .compatibility import unreadable
from .schema import Kind, Reference, Schema

__all__ = ["Avro"]


class Avro:
    """The format of a model, or of plain objects: dicts, lists and what logical types have."""

    kind: Kind = "AVRO"
    indexes = b""

    def __init__(
        self,
        model: Any,
        schema: str | Mapping[str, Any] | None,
        namespace: str | None,
        references: Mapping[str, tuple[str, int, str]],
    ) -> None:
        """Prepare it; `references` are what `schema` refers to: subject, version and text, by name."""
        self.model = model
        self.title = "avro" if model is Any else f"avro({getattr(model, '__name__', model)})"
        self._fastavro = avro_library(self.title)
        self._given = schema is not None
        self._references = tuple(Reference(name, of, version) for name, (of, version, _) in references.items())
        self._texts = {name: text for name, (_, _, text) in references.items()}
        text: str | None = None
        if schema is not None:
            text = schema if isinstance(schema, str) else json.dumps(schema)
        elif model is not Any:
            try:
                text = json.dumps(avro_schema(model, namespace, self.title))
            except NameError as error:
                raise TopologyError(
                    f"{self.title}: an annotation cannot be resolved, {error}: move the classes to the module"
                ) from error
        self.schema = None if text is None else Schema("AVRO", text, self._references, self._texts)
        self._reader = None if self.schema is None else self._parsed(self.schema)
        self.name = _name(self._reader)
        self._convert = None if model is Any else reading(model)

    def _parsed(self, schema: Schema) -> Any:
        try:
            return self._fastavro.parse_schema(
                self_contained(json.loads(schema.text), {name: json.loads(text) for name, text in schema.texts.items()})
            )
        except (self._fastavro.schema.SchemaParseException, self._fastavro.schema.UnknownType, ValueError) as error:
            raise TopologyError(f"{self.title}: the schema is no Avro schema: {error!r}") from error

    def reader(self, schema: Schema, indexes: tuple[int, ...] = ()) -> Callable[[bytes], Any]:
        """Return the function that reads what was written by a schema."""
        read, convert, own = self._fastavro.schemaless_reader, self._convert, self._reader
        written = self._parsed(schema)
        if own is not None and not self._given:
            own = self._fastavro.parse_schema(aligned(json.loads(self._text), json.loads(json.dumps(written))))
        if own == written:
            own = None  # nothing to resolve
        named = convert is not None
        failures: Any = (self._fastavro._read_common.SchemaResolutionError,)

        def decode(data: bytes) -> Any:
            source = BytesIO(data)
            try:
                value = read(source, written, own, named, named)
            except failures as error:
                raise ValueError(unreadable(written, own, str(error))) from None
            except (EOFError, IndexError) as error:
                raise ValueError(f"the data ends before a value of its schema does ({error})") from None
            if source.read(1):
                raise ValueError(f"{len(data) - source.tell() + 1} bytes are left after a value of the schema")
            return value if convert is None else convert(value)

        return decode

    @property
    def _text(self) -> str:
        assert self.schema is not None
        return self.schema.text

    def writer(self, schema: Schema) -> Callable[[Any], bytes]:
        """Return the function that writes by a schema."""
        parsed, write = self._parsed(schema), self._fastavro.schemaless_writer
        data = writing(parsed)

        def encode(value: Any) -> bytes:
            to = BytesIO()
            write(to, parsed, data(value))
            return to.getvalue()

        return encode


def _name(schema: Any) -> str | None:
    return cast("dict[str, Any]", schema).get("name") if isinstance(schema, dict) else None


def avro_library(what: str) -> Any:
    """Return fastavro."""
    try:
        import_module("fastavro.schema")
        return import_module("fastavro")
    except ImportError as error:
        raise TopologyError(f"{what} needs fastavro: pip install tidemill[registry]") from error
