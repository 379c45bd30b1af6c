"""Columns of PostgreSQL and MariaDB as fields of models, with a schema in the record, without one, and in Avro."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest

import tidemill as tm
from tests.operators.changes.records import (
    MARIADB_COLUMNS,
    MARIADB_ROW,
    POSTGRES_COLUMNS,
    POSTGRES_ROW,
    envelope,
    row_schema,
)

Meta = msgspec.Meta
UTC = dt.timezone.utc


class Customer(msgspec.Struct):
    id: int
    name: str
    balance: Decimal
    free: Decimal
    created: dt.datetime
    seen: dt.datetime
    born: dt.date
    at: dt.time
    tz: dt.time
    span: dt.timedelta
    uid: uuid.UUID
    doc: dict[str, Any]
    raw: bytes
    tags: list[str]
    nums: list[Decimal]
    flags: bytes
    ok: bool
    f8: float
    ts3: dt.datetime


CUSTOMER = Customer(
    id=1,
    name="Ann",
    balance=Decimal("12.34"),
    free=Decimal("1.5"),
    created=dt.datetime(2024, 2, 3, 4, 5, 6, 123456),  # noqa: DTZ001
    seen=dt.datetime(2024, 2, 3, 2, 5, 6, 123456, tzinfo=UTC),
    born=dt.date(1990, 5, 6),
    at=dt.time(7, 8, 9, 100000),
    tz=dt.time(5, 8, 9, tzinfo=UTC),
    span=dt.timedelta(days=3, hours=4, minutes=5, seconds=6),
    uid=uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    doc={"a": 1},
    raw=b"\xde\xad\xbe\xef",
    tags=["x", "y"],
    nums=[Decimal("1.500"), Decimal("2.250")],
    flags=b"\xaa\x02",
    ok=True,
    f8=1.25,
    ts3=dt.datetime(2024, 2, 3, 4, 5, 6, 123000),  # noqa: DTZ001
)


def row(model: Any, data: bytes, **options: Any) -> Any:
    return tm.debezium(model, **options).rows().in_topic("t", "value").decode(data)


def test_columns_of_postgres_by_the_schema() -> None:
    assert row(Customer, envelope("c", None, POSTGRES_ROW, columns=POSTGRES_COLUMNS)) == CUSTOMER


def test_columns_of_postgres_by_what_is_declared() -> None:
    class Declared(msgspec.Struct):
        id: int
        balance: Annotated[Decimal, Meta(extra={"debezium": "Decimal", "scale": 2})]
        free: Decimal
        created: Annotated[dt.datetime, Meta(extra={"debezium": "io.debezium.time.MicroTimestamp"})]
        seen: dt.datetime
        born: dt.date
        at: Annotated[dt.time, Meta(extra={"debezium": "MicroTime"})]
        tz: dt.time
        span: Annotated[dt.timedelta, Meta(extra={"debezium": "MicroDuration"})]
        uid: uuid.UUID
        doc: dict[str, Any]
        raw: bytes
        ts3: Annotated[dt.datetime, Meta(tz=True, extra={"debezium": "Timestamp"})]

    found = row(Declared, envelope("c", None, POSTGRES_ROW))
    for field in Declared.__struct_fields__:
        expected = getattr(CUSTOMER, field)
        assert getattr(found, field) == (expected.replace(tzinfo=UTC) if field == "ts3" else expected)
    # What is declared does not matter where the record has a schema.
    assert row(Declared, envelope("c", None, POSTGRES_ROW, columns=POSTGRES_COLUMNS)) == found


def test_columns_of_mariadb() -> None:
    class Product(msgspec.Struct):
        id: int
        price: Decimal
        d: dt.date
        dt6: dt.datetime
        ts: dt.datetime
        ti: dt.timedelta
        ti6: dt.time
        y: int
        s: set[str]
        j: dict[str, int]
        b1: bool
        bl: bytes
        bo: bool
        f: float

    assert row(Product, envelope("r", None, MARIADB_ROW, columns=MARIADB_COLUMNS)) == Product(
        id=1,
        price=Decimal("12.34"),
        d=dt.date(2024, 2, 3),
        dt6=dt.datetime(2024, 2, 3, 4, 5, 6, 123456),  # noqa: DTZ001
        ts=dt.datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC),
        ti=-dt.timedelta(hours=25),
        ti6=dt.time(1, 2, 3, 500000),
        y=2024,
        s={"x", "y"},
        j={"a": 1},
        b1=True,
        bl=b"\xde\xad\xbe\xef",
        bo=True,
        f=1.5,
    )

    class OutOfRange(msgspec.Struct):
        ti: dt.time

    with pytest.raises(ValueError, match=r"the column 'ti': .* is no time of day.*timedelta"):
        row(OutOfRange, envelope("r", None, MARIADB_ROW, columns=MARIADB_COLUMNS))


def test_fields_of_other_types_get_the_column_as_it_is() -> None:
    class Bare(msgspec.Struct):
        balance: float
        free: str
        created: int
        seen: str
        born: int
        span: int
        uid: str
        doc: str

    found = row(Bare, envelope("c", None, POSTGRES_ROW, columns=POSTGRES_COLUMNS))
    assert found == Bare(
        12.34,
        "1.5",
        POSTGRES_ROW["created"],
        POSTGRES_ROW["seen"],
        POSTGRES_ROW["born"],
        POSTGRES_ROW["span"],
        POSTGRES_ROW["uid"],
        POSTGRES_ROW["doc"],
    )


def test_plain_rows_have_values_of_python_where_a_schema_tells() -> None:
    found = row(Any, envelope("c", None, POSTGRES_ROW, columns=POSTGRES_COLUMNS))
    assert found["balance"] == Decimal("12.34")
    assert found["created"] == CUSTOMER.created
    assert found["pt"]["wkb"][:1] == b"\x01"
    assert found["doc"] == '{"a": 1}'
    assert row(Any, envelope("c", None, POSTGRES_ROW)) == POSTGRES_ROW


@dataclasses.dataclass
class AsDataclass:
    id: int
    balance: Decimal


class AsTypedDict(TypedDict):
    id: int
    balance: Decimal


class AsPydantic(pydantic.BaseModel):
    id: int
    balance: Decimal


@pytest.mark.parametrize("model", [AsDataclass, AsTypedDict, AsPydantic])
def test_models_of_every_kind(model: Any) -> None:
    found = row(model, envelope("c", None, POSTGRES_ROW, columns=POSTGRES_COLUMNS))
    assert found == model(id=1, balance=Decimal("12.34"))


def test_decimals_as_numbers_keep_their_digits() -> None:
    """Kafka Connect's decimal.format=NUMERIC; other numbers of the row are floats."""
    text = envelope("c", None, {"id": 1, "balance": 0, "f8": 0.1}, columns=POSTGRES_COLUMNS)
    text = text.replace(b'"balance": 0,', b'"balance": 12345678901234567.89,')

    class Row(msgspec.Struct):
        balance: Decimal
        f8: float

    assert row(Row, text) == Row(Decimal("12345678901234567.89"), 0.1)
    assert type(row(Any, text)["f8"]) is float


def test_numbers_without_a_meaning_are_refused() -> None:
    class Row(msgspec.Struct):
        created: dt.datetime

    with pytest.raises(ValueError, match=r"the column 'created': the number .* declare the type"):
        row(Row, envelope("c", None, POSTGRES_ROW))

    class Money(msgspec.Struct):
        balance: Decimal

    with pytest.raises(ValueError, match=r"the column 'balance': 'BNI=' is no number.*'scale'"):
        row(Money, envelope("c", None, POSTGRES_ROW))
    assert row(Money, envelope("c", None, {"balance": "12.34"})) == Money(Decimal("12.34"))


def test_infinity_is_refused_unless_it_is_an_int() -> None:
    data = envelope("c", None, {**POSTGRES_ROW, "created": 9223372036825200000}, columns=POSTGRES_COLUMNS)
    with pytest.raises(ValueError, match=r"out of the range of datetime.*declare the field as int"):
        row(Customer, data)


def test_intervals_as_text() -> None:
    columns = [{"type": "string", "optional": True, "name": "io.debezium.time.Interval", "field": "span"}]

    class Row(msgspec.Struct):
        span: dt.timedelta | None

    def of(text: str | None) -> Any:
        return row(Row, envelope("c", None, {"span": text}, columns=columns)).span

    assert of("P0Y0M3DT4H5M6.5S") == dt.timedelta(days=3, hours=4, minutes=5, seconds=6.5)
    assert of("P0Y0M-1DT0H0M-0.000001S") == -dt.timedelta(days=1, microseconds=1)
    assert of(None) is None
    with pytest.raises(ValueError, match="has months"):
        of("P1Y2M0DT0H0M0S")


def test_a_value_that_postgres_does_not_send() -> None:
    class Row(msgspec.Struct):
        id: int
        name: str
        raw: bytes = b""

    for columns in (None, POSTGRES_COLUMNS):
        missing = envelope("u", None, {"id": 1, "name": "__debezium_unavailable_value", "raw": None}, columns=columns)
        with pytest.raises(ValueError, match=r"the row lacks 'name'.*REPLICA IDENTITY FULL"):
            row(msgspec.defstruct("Loose", [("id", int), ("name", str)]), missing)
        assert row(msgspec.defstruct("Loose", [("id", int), ("name", str)]), missing, placeholder=None).name[:2] == "__"
        change = tm.debezium(msgspec.defstruct("L", [("name", str)])).in_topic("t", "value").decode(missing)
        assert change.unavailable == ("name",)
    encoded = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
    with pytest.raises(ValueError, match="the row lacks 'raw'"):
        row(Row, envelope("u", None, {"id": 1, "name": "a", "raw": encoded}))


def test_flattened_records() -> None:
    class Row(msgspec.Struct):
        id: int
        balance: Decimal

    serde = tm.debezium(Row, flattened=True).in_topic("t", "value")
    extra = {"__op": "u", "__table": "customers", "__source_ts_ms": 1}
    framed = json.dumps({"schema": row_schema(POSTGRES_COLUMNS), "payload": {**POSTGRES_ROW, **extra}}).encode()
    assert serde.decode(framed) == Row(1, Decimal("12.34"))
    assert serde.decode(json.dumps({"id": 1, "balance": "12.34", "__deleted": "false"}).encode()) == Row(
        1, Decimal("12.34")
    )
    assert serde.decode(json.dumps({"id": 1, "balance": None, "__deleted": "true"}).encode()) is None
    assert serde.decode(json.dumps({"id": 1, "balance": "1", "__deleted": False}).encode()) == Row(1, Decimal(1))


def test_columns_called_schema_and_payload() -> None:
    class Row(msgspec.Struct):
        schema: str | None
        payload: str
        id: int = 0

    serde = tm.debezium(Row, flattened=True).in_topic("t", "value")
    assert serde.decode(b'{"schema": null, "payload": "a", "id": 1}') == Row(None, "a", 1)
    assert serde.decode(b'{"schema": "s", "payload": "a"}') == Row("s", "a")


def test_what_is_no_change_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no field 'op'.*flattened=True"):
        row(Any, b'{"id": 1}')
    with pytest.raises(ValueError, match="the operation 'x'"):
        row(Any, envelope("x"))
    with pytest.raises(ValueError, match="not one of Kafka Connect"):
        row(Any, b'{"schema": {"type": "struct", "fields": [1]}, "payload": {"op": "c"}}')
    with pytest.raises(tm.TopologyError, match="takes the class of the rows"):
        tm.debezium(int)
    with pytest.raises(tm.TopologyError, match="'created' is declared as 'Microseconds'"):
        tm.debezium(msgspec.defstruct("Row", [("created", Annotated[int, Meta(extra={"debezium": "Microseconds"})])]))
    with pytest.raises(tm.TopologyError, match="whose 'scale' is declared too"):
        tm.debezium(msgspec.defstruct("Row", [("price", Annotated[Decimal, Meta(extra={"debezium": "Decimal"})])]))
