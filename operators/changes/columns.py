"""The columns of rows, as the schema of a record describes them.

The schema is Kafka Connect's, in JSON, or one of Avro. A column has a type and, where Debezium gives the type a
meaning, the name of that: `io.debezium.time.Date` is an int that counts days. Confluent's and Apicurio's converters
write these names into Avro schemas as `connect.name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

__all__ = ["SchemaColumn", "avro_column", "connect_column", "without_logical_types"]

AVRO_NAMES: Final = {
    "boolean": "boolean",
    "int": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "enum": "string",
    "bytes": "bytes",
    "fixed": "bytes",
    "array": "array",
    "map": "map",
    "record": "struct",
    "error": "struct",
}


@dataclass(frozen=True)
class SchemaColumn:
    """A column, or a part of one."""

    type: str
    """As Kafka Connect calls it: int32, string, bytes, array, map, struct ..."""
    meaning: str | None = None
    """The name of the semantic type."""
    scale: int | None = None
    """The digits after the point of a decimal."""
    items: SchemaColumn | None = None
    """Of an array, or the values of a map."""
    fields: Mapping[str, SchemaColumn] = field(default_factory=dict[str, "SchemaColumn"])
    """Of a struct."""


def connect_column(schema: Any) -> SchemaColumn:
    """Return the column of a schema as `JsonConverter` writes it."""
    given = cast("dict[str, Any]", schema)
    inner = given.get("items") or given.get("values")
    parameters: dict[str, Any] = given.get("parameters") or {}
    scale = parameters.get("scale")
    return SchemaColumn(
        given["type"],
        given.get("name"),
        None if scale is None else int(scale),
        None if inner is None else connect_column(inner),
        {each["field"]: connect_column(each) for each in given.get("fields") or ()},
    )


def without_logical_types(schema: Any) -> Any:
    """Return an Avro schema by which values are read as they are stored."""
    if isinstance(schema, list):
        return [without_logical_types(branch) for branch in cast("list[Any]", schema)]
    if isinstance(schema, dict):
        given = cast("dict[str, Any]", schema)
        return {
            name: without_logical_types(part) if name in ("type", "fields", "items", "values") else part
            for name, part in given.items()
            if name != "logicalType"
        }
    return schema


def avro_column(schema: Any, named: dict[str, SchemaColumn] | None = None, namespace: str = "") -> SchemaColumn:
    """Return the column of an Avro schema."""
    known: dict[str, SchemaColumn] = {} if named is None else named
    if isinstance(schema, list):
        branches = [each for each in cast("list[Any]", schema) if each != "null"]
        return avro_column(branches[0], known, namespace) if len(branches) == 1 else SchemaColumn("union")
    if isinstance(schema, str):
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        return known.get(full) or known.get(schema) or SchemaColumn(AVRO_NAMES.get(schema, schema))
    given = cast("dict[str, Any]", schema)
    kind = given["type"]
    if not isinstance(kind, str):
        return avro_column(kind, known, namespace)
    if kind not in AVRO_NAMES:
        return avro_column(kind, known, namespace)
    name: str = given.get("name", "")
    namespace = name.rpartition(".")[0] or given.get("namespace", namespace)
    inner = given.get("items") or given.get("values")
    logical = given.get("logicalType")
    parameters: dict[str, Any] = given.get("connect.parameters") or {}
    scale = given.get("scale", parameters.get("scale"))
    made = SchemaColumn(
        AVRO_NAMES[kind],
        given.get("connect.name") or (f"avro.{logical}" if logical else None),
        None if scale is None else int(scale),
        None if inner is None else avro_column(inner, known, namespace),
        {each["name"]: avro_column(each["type"], known, namespace) for each in given.get("fields") or ()},
    )
    if name:
        known[name if "." in name or not namespace else f"{namespace}.{name}"] = made
    return made
