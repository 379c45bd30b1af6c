"""Tests of `map_batch` with functions of data frames: columns from fields of values, results from rows."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, TypedDict

import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped
from tidemill.operators.stateless.frames import over_frames


class Colour(enum.Enum):
    RED = "red"


class Side(msgspec.Struct):
    length: float
    of: str


class Order(msgspec.Struct):
    item: str
    pieces: int
    price: float | None = None
    sides: list[Side] = []
    colour: Colour = Colour.RED
    day: date = date(2026, 1, 2)


@dataclasses.dataclass
class Plain:
    item: str
    pieces: int


class Keyed(TypedDict):
    item: str
    pieces: int


class Named(NamedTuple):
    item: str
    pieces: int


class Checked(pydantic.BaseModel):
    item: str
    pieces: int


def by_record_batch(batch: pa.RecordBatch) -> pa.Array:
    return pa.array([f"{row['item']}{row['pieces']}" for row in batch.to_pylist()])


def by_table(table: pa.Table) -> pa.Table:
    return table


def by_polars(frame: pl.DataFrame) -> pl.Series:
    return frame["item"] + frame["pieces"].cast(pl.String)


def by_pandas(frame: pd.DataFrame) -> Any:
    return frame["item"] + frame["pieces"].astype(str)


class Model:
    def __call__(self, frame: pl.DataFrame) -> list[str]:
        return by_polars(frame).to_list()

    def method(self, frame: pl.DataFrame) -> list[str]:
        return self(frame)


def results(function: Callable[..., Any], values: list[Any], serde: Any = tm.json, **more: Any) -> list[Any]:
    app = tm.App("test", on_error=tm.skip)
    app.stream("in", key=tm.utf8, value=serde).map_batch(function, value=tm.json, **more).named("f").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send_all("in", [tm.Record(str(at), value, 10 + at, (("h", b"x"),)) for at, value in enumerate(values)])
        driver.advance_wall_clock("1h")
        found = driver.read("out")
        results.dropped = driver.dropped  # type: ignore[attr-defined]
    assert all(record.headers == (("h", b"x"),) for record in found)
    assert [record.timestamp for record in found] == [10 + int(record.key) for record in found]
    return [record.value for record in found]


VALUES: dict[str, tuple[Any, list[Any]]] = {
    "dicts": (tm.json, [{"item": "a", "pieces": 1}, {"item": "b", "pieces": 2}]),
    "structs": (tm.json(Order), [Order("a", 1), Order("b", 2)]),
    "dataclasses": (tm.json(Plain), [Plain("a", 1), Plain("b", 2)]),
    "typed dicts": (tm.json(Keyed), [{"item": "a", "pieces": 1}, {"item": "b", "pieces": 2}]),
    "named tuples": (tm.json(Named), [Named("a", 1), Named("b", 2)]),
    "pydantic": (tm.json(Checked), [Checked(item="a", pieces=1), Checked(item="b", pieces=2)]),
    "objects": (tm.auto, [Order("a", 1), Order("b", 2)]),
}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("wait", [0, "5s"])
@pytest.mark.parametrize(
    "function",
    [by_record_batch, by_polars, by_pandas, Model(), Model().method, partial(by_polars)],
    ids=["record batch", "polars", "pandas", "object", "method", "partial"],
)
def test_a_frame_has_a_column_per_field(function: Any, values: str, wait: Any) -> None:
    serde, given_values = VALUES[values]
    assert results(function, given_values, serde, max_wait=wait) == ["a1", "b2"]


def test_rows_of_frames_are_results() -> None:
    rows = [{"item": "a", "pieces": 1}, {"item": "b", "pieces": None}]

    def same_polars(frame: pl.DataFrame) -> pl.DataFrame:
        return frame

    def same_pandas(frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    assert results(by_table, rows) == rows
    assert results(same_polars, rows) == rows
    assert results(same_pandas, rows) == rows, "a missing number is null, not NaN"


def test_types_come_from_the_model_whatever_is_in_a_batch() -> None:
    schemas: list[Any] = []

    def note(batch: pa.RecordBatch) -> list[int]:
        schemas.append(batch.schema)
        return [0] * batch.num_rows

    for orders in ([Order("a", 1)], [Order("b", 2, 1.5, [Side(2, "m")])], [Order("c", 3, 1)]):
        results(note, orders, tm.json(Order))
    sides = pa.list_(pa.struct([("length", pa.float64()), ("of", pa.string())]))
    expected = [("item", pa.string()), ("pieces", pa.int64()), ("price", pa.float64()), ("sides", sides)]
    expected += [("colour", pa.string()), ("day", pa.date32())]
    assert schemas == [pa.schema(expected)] * 3


def test_values_without_fields_are_one_column() -> None:
    def doubled(frame: pl.DataFrame) -> pl.Series:
        return frame["value"] * 2

    assert results(doubled, [1, 2, 3]) == [2, 4, 6]
    assert results(doubled, [1.5], tm.float64) == [3.0]


def test_a_null_value_is_a_row_of_nulls() -> None:
    def known(frame: pl.DataFrame) -> pl.Series:
        return frame["item"].is_not_null()

    assert results(known, [{"item": "a"}, None, {}]) == [True, False, False]
    assert results(known, [Plain("a", 1), None], tm.json(Plain)) == [True, False]


def test_a_value_that_does_not_fit_is_found_and_dropped() -> None:
    values = [{"item": "a", "pieces": 1}, {"item": "b", "pieces": "two"}, {"item": "c", "pieces": 3}]

    def doubled(frame: pl.DataFrame) -> pl.Series:
        return frame["pieces"] * 2

    assert results(doubled, values) == [2, 6]
    assert results.dropped == {("f", "error"): 1}  # type: ignore[attr-defined]


def test_frames_that_are_not_supported_are_named() -> None:
    stream = untyped(tm.App("test").stream("in", key=tm.utf8, value=tm.json))

    def lazy(frame: pl.LazyFrame) -> Any:
        return frame

    with pytest.raises(tm.TopologyError, match=r"or of pyarrow.RecordBatch, .* not of polars.LazyFrame"):
        stream.map_batch(lazy)


SCALARS = st.fixed_dictionaries(
    {
        "a": st.integers(-(2**63), 2**63 - 1) | st.none(),
        "b": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        "c": st.text() | st.none(),
        "d": st.booleans(),
        "e": st.binary(),
        "f": st.datetimes(timezones=st.just(timezone.utc)),
        "g": st.dates(),
        "h": st.timedeltas(timedelta(0), timedelta(days=9)),
        "i": st.decimals(0, 9, places=2),
        "j": st.lists(st.integers(0, 9)),
    }
)


class All(msgspec.Struct):
    a: int | None
    b: float | None
    c: str | None
    d: bool
    e: bytes
    f: datetime
    g: date
    h: timedelta
    i: Decimal
    j: list[int]


@given(st.lists(SCALARS, min_size=1, max_size=5))
@examples(50)
def test_every_type_comes_back_as_it_was(rows: list[dict[str, Any]]) -> None:
    def same(table: pa.Table) -> pa.Table:
        return table

    found: list[Any] = []
    app = tm.App("test")
    stream = app.stream("in", value=tm.auto)
    stream.map_batch(same).peek(found.append).to("out")
    typed = app.stream("typed", value=tm.json(All))
    typed.map_batch(same).peek(found.append).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for row in rows:
            driver.send("in", value=row, timestamp=1)
            driver.send("typed", value=All(**row), timestamp=1)
    assert found == [row for row in rows for _ in range(2)]


@pytest.mark.parametrize("frame", [pl.DataFrame, pd.DataFrame, pa.RecordBatch, pa.Table])
def test_values_without_fields_are_rows_too(frame: Any) -> None:
    """A frame without columns would have no rows."""

    def counted(batch: Any) -> list[int]:
        return list(range(len(batch)))

    counted.__annotations__["batch"] = frame
    assert over_frames(counted, None)([{}, {}, None]) == [0, 1, 2]
    assert over_frames(counted, None)([{}, {"a": 1}]) == [0, 1]
