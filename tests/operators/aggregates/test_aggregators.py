"""Tests of the named aggregators against plain Python, including None, NaN and rows without a field."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.operators.aggregates.columns import columns_fold
from tidemill.operators.aggregates.keyed import KeyedFold, keyed_loop
from tidemill.operators.stores.entries import keyed_codec, keyed_view
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position

ALL = {
    "records": tm.count(),
    "values": tm.count("x"),
    "total": tm.sum("x"),
    "mean": tm.mean("x"),
    "least": tm.min("x"),
    "most": tm.max("x"),
    "first": tm.first("x"),
    "last": tm.last("x"),
    "all": tm.collect("x"),
}


class Row(msgspec.Struct):
    x: Any
    y: Any = None


def aggregated(columns: dict[str, tm.Aggregator], rows: Iterable[Any]) -> list[dict[str, Any]]:
    """The results for the rows, one key, one batch."""
    fold = columns_fold(columns)
    cache = StateCache(MemoryStore(), "s", keyed_codec(tm.utf8, fold.keep, fold.restore))
    step = KeyedFold("s", cache, keyed_loop(fold, updates=False))
    return [r.value for r in step.process([tm.Record("k", row, 0) for row in rows], 0)]


def expected(values: list[Any]) -> dict[str, Any]:
    there = [value for value in values if value is not None]
    return {
        "records": len(values),
        "values": len(there),
        "total": sum(there),
        "mean": sum(there) / len(there) if there else None,
        "least": min(there, default=None),
        "most": max(there, default=None),
        "first": there[0] if there else None,
        "last": there[-1] if there else None,
        "all": there,
    }


@given(st.lists(st.none() | st.integers(-5, 5), min_size=1, max_size=12), st.lists(st.booleans(), min_size=12))
def test_each_result_is_that_of_the_values_so_far(values: list[Any], as_mapping: list[bool]) -> None:
    """Objects and mappings may come in one batch."""
    rows = [{"x": value} if mapping else Row(value) for value, mapping in zip(values, as_mapping, strict=False)]
    assert aggregated(ALL, rows) == [expected(values[: count + 1]) for count in range(len(values))]


class Titled(str):
    """A value of a class of its own, with a field that dicts have as a method."""

    items = 7


SHAPES = {
    "mapping": lambda value: {"items": value, "x": 1},
    "read-only mapping": lambda value: MappingProxyType({"items": value, "x": 1}),
    "object": lambda value: SimpleNamespace(items=value, x=1),
    "none": lambda value: None,
}


@given(st.lists(st.tuples(st.sampled_from([*SHAPES]), st.none() | st.integers(-5, 5)), min_size=1, max_size=8))
def test_a_field_is_read_by_the_class_of_its_own_value(given: list[tuple[str, int | None]]) -> None:
    """Fields may have the names of methods of dicts; what came first in a batch does not matter."""
    columns = {"n": tm.count("items"), "sum": tm.sum("items"), "last": tm.last("items"), "x": tm.count("x")}
    rows = [SHAPES[shape](value) for shape, value in given]
    fields = [value for shape, value in given if shape != "none"]
    there = [value for value in fields if value is not None]
    for batch in (rows, [Titled(), *rows], [{"items": 7, "x": 1}, *rows]):
        extra = [7] * (len(batch) - len(rows))
        if not fields and not extra:
            continue
        if isinstance(batch[0], Titled):
            untyped(batch[0]).x = 1
        last = aggregated(columns, batch)[-1]
        assert last == {
            "n": len(there) + len(extra),
            "sum": sum(there) + sum(extra),
            "last": [*extra, *there][-1] if there or extra else None,
            "x": len(fields) + len(extra),
        }


def test_without_any_value() -> None:
    assert aggregated(ALL, [Row(None)]) == [expected([None])]
    assert expected([None])["total"] == 0
    assert expected([None])["mean"] is None


def test_a_field_may_be_a_function() -> None:
    assert aggregated({"a": tm.sum(lambda row: row.x * 2)}, [Row(1), Row(2)])[-1] == {"a": 6}
    assert aggregated({"a": tm.max(), "b": tm.last()}, [3, 5, 4])[-1] == {"a": 5, "b": 4}


def test_fields_that_are_no_identifiers() -> None:
    columns = {"a": tm.sum("first-name"), "class": tm.sum("class"), "it's": tm.count()}
    assert aggregated(columns, [{"first-name": 1, "class": 2}])[-1] == {"a": 1, "class": 2, "it's": 1}


def test_whatever_can_be_added_can_be_summed() -> None:
    assert aggregated(ALL, [Row(Decimal("0.1")), Row(Decimal("0.2"))])[-1]["total"] == Decimal("0.3")
    last = aggregated(ALL, [Row(timedelta(1)), Row(timedelta(2))])[-1]
    assert (last["total"], last["mean"]) == (timedelta(3), timedelta(1.5))


@pytest.mark.parametrize("values", [[1.0, math.nan, 2.0], [math.nan, 1.0, 2.0], [2.0, 1.0, math.nan]])
def test_nan_is_neither_minimum_nor_maximum_if_there_is_a_number(values: list[float]) -> None:
    last = aggregated(ALL, map(Row, values))[-1]
    assert (last["least"], last["most"]) == (1.0, 2.0)
    assert math.isnan(last["total"])
    assert math.isnan(last["mean"])
    assert math.isnan(aggregated(ALL, [Row(math.nan)])[-1]["least"])


def test_results_that_were_sent_stay_as_they_were() -> None:
    first, second = aggregated({"all": tm.collect("x")}, [Row(1), Row(2)])
    assert (first, second) == ({"all": [1]}, {"all": [1, 2]})


def test_a_row_without_the_field_is_an_error_with_the_nearest_name() -> None:
    for row in ({"amuont": 5}, type("Row", (), {"amuont": 5})()):
        with pytest.raises(tm.RecordError) as caught:
            aggregated({"total": tm.sum("amount")}, [row])
        assert "no field 'amount'; did you mean 'amuont'?" in caught.value.reason


def test_a_value_that_fails_changes_no_column() -> None:
    fold = columns_fold(ALL)
    cache = StateCache(MemoryStore(), "s", keyed_codec(tm.utf8, fold.keep, fold.restore))
    step = KeyedFold("s", cache, keyed_loop(fold, updates=False))
    with pytest.raises(tm.RecordError) as caught:
        step.process([tm.Record("k", Row(1), 0), tm.Record("k", Row("x"), 9)], 0)
    assert caught.value.index == 1
    assert step.process([tm.Record("k", Row(2), 0)], 0)[0].value == expected([1, 2])


def reopened(before: dict[str, tm.Aggregator], after: dict[str, tm.Aggregator]) -> dict[str, Any]:
    """What a program with other columns finds in the store of an earlier one that has seen 1 and 2."""
    store = MemoryStore()
    fold = columns_fold(before)
    cache = StateCache(store, "s", keyed_codec(tm.utf8, fold.keep, fold.restore))
    KeyedFold("s", cache, keyed_loop(fold, updates=False)).process([tm.Record("k", Row(x), 7) for x in (1, 2)], 0)
    store.apply(cache.drain(), Position())
    fold = columns_fold(after)
    entry = StateCache(store, "s", keyed_codec(tm.utf8, fold.keep, fold.restore))["k"]
    assert entry is not None
    view = keyed_view(fold.shown())
    assert view.timestamp(entry) == 7
    return view.from_value(entry)


def test_state_survives() -> None:
    assert reopened(ALL, ALL) == expected([1, 2])


def test_columns_can_come_go_and_change_places() -> None:
    before = {"n": tm.count(), "mean": tm.mean("x")}
    assert reopened(before, {"most": tm.max("x"), "mean": tm.mean("x")}) == {"most": None, "mean": 1.5}
    assert reopened(before, {"n": tm.sum("x")}) == {"n": 0}, "a column of another kind starts empty"


def test_what_is_no_aggregator_is_refused() -> None:
    with pytest.raises(tm.TopologyError, match=r"aggregate\(n=\.\.\.\) takes an aggregator such as tm\.count\(\)"):
        columns_fold({"n": untyped(len)})
    with pytest.raises(tm.TopologyError, match=r"tm\.sum: 5 is neither a field's name nor a function"):
        tm.sum(untyped(5))
