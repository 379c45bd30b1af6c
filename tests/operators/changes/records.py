"""Records as Debezium 3.2 wrote them for PostgreSQL 15 and MariaDB 10.11, captured from its engine and shortened."""

from __future__ import annotations

import json
from typing import Any

POSTGRES_ROW: dict[str, Any] = {
    "id": 1,
    "name": "Ann",
    "balance": "BNI=",
    "free": {"scale": 1, "value": "Dw=="},
    "created": 1706933106123456,
    "seen": "2024-02-03T02:05:06.123456Z",
    "born": 7430,
    "at": 25689100000,
    "tz": "05:08:09Z",
    "span": 273906000000,
    "uid": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
    "doc": '{"a": 1}',
    "raw": "3q2+7w==",
    "tags": ["x", "y"],
    "nums": ["Bdw=", "CMo="],
    "flags": "qgI=",
    "ok": True,
    "f8": 1.25,
    "pt": {"x": 1.0, "y": 2.0, "wkb": "AQEAAAAAAAAAAADwPwAAAAAAAABA", "srid": None},
    "ts3": 1706933106123,
}
DECIMAL = "org.apache.kafka.connect.data.Decimal"
POSTGRES_COLUMNS: list[dict[str, Any]] = [
    {"type": "int32", "optional": False, "field": "id"},
    {"type": "string", "optional": False, "field": "name"},
    {"type": "bytes", "optional": True, "name": DECIMAL, "version": 1,
     "parameters": {"scale": "2", "connect.decimal.precision": "10"}, "field": "balance"},
    {"type": "struct", "fields": [{"type": "int32", "optional": False, "field": "scale"},
                                  {"type": "bytes", "optional": False, "field": "value"}],
     "optional": True, "name": "io.debezium.data.VariableScaleDecimal", "version": 1, "field": "free"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTimestamp", "version": 1, "field": "created"},
    {"type": "string", "optional": True, "name": "io.debezium.time.ZonedTimestamp", "version": 1, "field": "seen"},
    {"type": "int32", "optional": True, "name": "io.debezium.time.Date", "version": 1, "field": "born"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTime", "version": 1, "field": "at"},
    {"type": "string", "optional": True, "name": "io.debezium.time.ZonedTime", "version": 1, "field": "tz"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroDuration", "version": 1, "field": "span"},
    {"type": "string", "optional": True, "name": "io.debezium.data.Uuid", "version": 1, "field": "uid"},
    {"type": "string", "optional": True, "name": "io.debezium.data.Json", "version": 1, "field": "doc"},
    {"type": "bytes", "optional": True, "field": "raw"},
    {"type": "array", "items": {"type": "string", "optional": True}, "optional": True, "field": "tags"},
    {"type": "array", "items": {"type": "bytes", "optional": True, "name": DECIMAL, "version": 1,
                                "parameters": {"scale": "3", "connect.decimal.precision": "6"}},
     "optional": True, "field": "nums"},
    {"type": "bytes", "optional": True, "name": "io.debezium.data.Bits", "version": 1,
     "parameters": {"length": "10"}, "field": "flags"},
    {"type": "boolean", "optional": True, "field": "ok"},
    {"type": "double", "optional": True, "field": "f8"},
    {"type": "struct", "fields": [{"type": "double", "optional": False, "field": "x"},
                                  {"type": "double", "optional": False, "field": "y"},
                                  {"type": "bytes", "optional": True, "field": "wkb"},
                                  {"type": "int32", "optional": True, "field": "srid"}],
     "optional": True, "name": "io.debezium.data.geometry.Point", "version": 1, "field": "pt"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.Timestamp", "version": 1, "field": "ts3"},
]  # fmt: skip
POSTGRES_SOURCE: dict[str, Any] = {
    "version": "3.2.0.Final",
    "connector": "postgresql",
    "name": "shop",
    "ts_ms": 1796032367433,
    "snapshot": "false",
    "db": "postgres",
    "sequence": '[null,"22193680"]',
    "ts_us": 1796032367433725,
    "ts_ns": 1796032367433725000,
    "schema": "public",
    "table": "customers",
    "txId": 728,
    "lsn": 22193680,
    "xmin": None,
}
MARIADB_ROW: dict[str, Any] = {
    "id": 1,
    "name": "scooter",
    "price": "BNI=",
    "big": -1,
    "d": 19756,
    "dt": 1706933106000,
    "dt6": 1706933106123456,
    "ts": "2024-02-03T04:05:06Z",
    "ti": -90000000000,
    "ti6": 3723500000,
    "y": 2024,
    "e": "a",
    "s": "x,y",
    "j": '{"a": 1}',
    "b": "qgI=",
    "b1": True,
    "bl": "3q2+7w==",
    "bo": 1,
    "f": 1.5,
}
MARIADB_COLUMNS: list[dict[str, Any]] = [
    {"type": "int64", "optional": False, "field": "id"},
    {"type": "string", "optional": False, "field": "name"},
    {"type": "bytes", "optional": True, "name": DECIMAL, "version": 1,
     "parameters": {"scale": "2", "connect.decimal.precision": "10"}, "field": "price"},
    {"type": "int64", "optional": True, "field": "big"},
    {"type": "int32", "optional": True, "name": "io.debezium.time.Date", "version": 1, "field": "d"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.Timestamp", "version": 1, "field": "dt"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTimestamp", "version": 1, "field": "dt6"},
    {"type": "string", "optional": True, "name": "io.debezium.time.ZonedTimestamp", "version": 1, "field": "ts"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTime", "version": 1, "field": "ti"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTime", "version": 1, "field": "ti6"},
    {"type": "int32", "optional": True, "name": "io.debezium.time.Year", "version": 1, "field": "y"},
    {"type": "string", "optional": True, "name": "io.debezium.data.Enum", "version": 1,
     "parameters": {"allowed": "a,b"}, "field": "e"},
    {"type": "string", "optional": True, "name": "io.debezium.data.EnumSet", "version": 1,
     "parameters": {"allowed": "x,y"}, "field": "s"},
    {"type": "string", "optional": True, "field": "j"},
    {"type": "bytes", "optional": True, "name": "io.debezium.data.Bits", "version": 1,
     "parameters": {"length": "10"}, "field": "b"},
    {"type": "boolean", "optional": True, "field": "b1"},
    {"type": "bytes", "optional": True, "field": "bl"},
    {"type": "int16", "optional": True, "field": "bo"},
    {"type": "float", "optional": True, "field": "f"},
]  # fmt: skip


def row_schema(columns: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"type": "struct", "fields": columns, "optional": True, "name": "shop.public.customers.Value", **more}


def envelope(
    op: str,
    before: Any = None,
    after: Any = None,
    *,
    columns: list[dict[str, Any]] | None = None,
    **more: Any,
) -> bytes:
    """A change, with a schema if there are columns."""
    payload = {
        "before": before,
        "after": after,
        "source": POSTGRES_SOURCE,
        "transaction": None,
        "op": op,
        "ts_ms": 1796032367878,
        "ts_us": 1796032367878140,
        "ts_ns": 1796032367878140409,
        **more,
    }
    if columns is None:
        return json.dumps(payload).encode()
    fields = [
        row_schema(columns, field="before"),
        row_schema(columns, field="after"),
        {"type": "struct", "fields": [], "optional": False, "name": "io.debezium.connector.Source", "field": "source"},
        {"type": "string", "optional": False, "field": "op"},
    ]
    schema = {"type": "struct", "fields": fields, "optional": False, "name": "shop.public.customers.Envelope"}
    return json.dumps({"schema": schema, "payload": payload}).encode()


def key(*, schema: bool = False, **columns: Any) -> bytes:
    """A key, with or without a schema."""
    if not schema:
        return json.dumps(columns, separators=(",", ":")).encode()
    fields = [{"type": "int32", "optional": False, "field": name} for name in columns]
    whole = {"type": "struct", "fields": fields, "optional": False, "name": "shop.public.customers.Key"}
    return json.dumps({"schema": whole, "payload": columns}, separators=(",", ":")).encode()
