"""Tests of stateless steps: their results, and the remaining records after a failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.record import Update
from tidemill.operators.stateless import stateless as ops

Records = list[tm.Record[Any, Any]]


def records(*values: Any) -> Records:
    return [tm.Record(f"k{i}", value, i, (("h", b"x"),), 10 + i) for i, value in enumerate(values)]


def values(found: Records) -> list[Any]:
    return [record.value for record in found]


def failing(value: Any) -> Any:
    if value == "bad":
        raise ValueError("bad")
    return value


def partly(value: Any) -> Iterator[Any]:
    """Fail after yielding a value."""
    yield value
    yield failing(value)


def test_filter() -> None:
    assert values(ops.Filter("s", bool).process(records(1, 0, None, "x"), 0)) == [1, "x"]


def test_map_keeps_all_but_the_value() -> None:
    assert ops.Map("s", str).process(records(5), 0) == [tm.Record("k0", "5", 0, (("h", b"x"),), 10)]


def test_flat_map() -> None:
    found = ops.FlatMap("s", lambda n: range(n) if n else None).process(records(2, 0, 1), 0)
    assert [(r.value, r.offset) for r in found] == [(0, 10), (1, 10), (0, 12)]


def test_with_key() -> None:
    assert [r.key for r in ops.WithKey("s", lambda n: n and n + 1).process(records(1, None), 0)] == [2, None]


def test_map_record_keeps_the_offset_of_the_cause() -> None:
    found = ops.MapRecord("s", lambda r: tm.Record(r.value, r.key, 99)).process(records("v"), 0)
    assert found == [tm.Record("v", "k0", 99, (), 10)]
    found = ops.FlatMapRecord("s", lambda r: [r, tm.Record(1, 2, 3)]).process(records("v"), 0)
    assert found == [*records("v"), tm.Record(1, 2, 3, (), 10)]


def test_map_record_must_give_records() -> None:
    with pytest.raises(tm.RecordError, match=r"must return a tidemill.Record, not 'v'"):
        ops.MapRecord("s", lambda r: r.value).process(records("v"), 0)


def test_peek_and_sinks_see_each_record_once() -> None:
    seen: list[Any] = []
    assert ops.Peek("s", seen.append).process(records(1, 2), 0) == records(1, 2)
    assert ops.ForEach("s", seen.append).process(records(3), 0) == []
    assert ops.ForEachRecord("s", lambda r: seen.append(r.key)).process(records(4), 0) == []
    assert seen == [1, 2, 3, "k0"]


def test_split_sends_to_the_first_that_holds() -> None:
    split = ops.Split("s", [lambda n: n < 3, lambda n: n < 6], rest=True)
    assert [values(port) for port in split.process(records(1, 5, 9, 2), 0)] == [[1, 2], [5], [9]]
    split = ops.Split("s", [lambda n: n < 3], rest=False)
    assert [values(port) for port in split.process(records(1, 5), 0)] == [[1]]


@pytest.mark.parametrize(
    "step",
    [
        ops.Filter("s", failing),
        ops.Map("s", failing),
        ops.FlatMap("s", partly),
        ops.WithKey("s", failing),
        ops.MapRecord("s", lambda r: tm.Record(r.key, failing(r.value), r.timestamp)),
        ops.FlatMapRecord("s", lambda r: (tm.Record(1, x, 1) for x in partly(r.value))),
        ops.Peek("s", failing),
        ops.ForEach("s", failing),
        ops.ForEachRecord("s", lambda r: failing(r.value)),
        ops.Split("s", [failing], rest=True),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_failure_names_the_record_and_keeps_what_came_before(step: Any) -> None:
    given = records("a", "b", "bad", "c")
    with pytest.raises(tm.RecordError) as caught:
        step.process(given, 0)
    error = caught.value
    assert (error.step, error.index, error.record) == ("s", 2, given[2])
    assert isinstance(error.__cause__, ValueError)
    assert error.done == step.process(given[:2], 0)


def test_a_function_is_called_once_for_each_record_even_when_a_later_one_fails() -> None:
    seen: list[Any] = []

    def noting(value: Any) -> Any:
        seen.append(value)
        return failing(value)

    with pytest.raises(tm.RecordError):
        ops.Map("s", noting).process(records("a", "bad", "c"), 0)
    assert seen == ["a", "bad"]


def updates(*pairs: tuple[Any, Any]) -> Records:
    return records(*(Update(old, new) for old, new in pairs))


def test_a_tables_rows_as_a_stream() -> None:
    assert values(ops.TableToStream().process(updates((1, 2), (2, None)), 0)) == [2, None]


def test_a_tables_filter_emits_no_deletion_of_rows_that_never_passed() -> None:
    pairs = updates((None, 1), (1, 7), (7, 8), (8, 2), (2, None), (9, None), (None, None))
    found = ops.TableFilter("s", lambda n: n > 5, updates=False).process(pairs, 0)
    assert [(r.key, r.value) for r in found] == [("k1", 7), ("k2", 8), ("k3", None), ("k5", None)]
    found = ops.TableFilter("s", lambda n: n > 5, updates=True).process(pairs, 0)
    assert values(found) == [Update(None, 7), Update(7, 8), Update(8, None), Update(9, None)]


def test_a_tables_map_never_sees_a_missing_row() -> None:
    pairs = updates((None, 1), (1, None))
    assert values(ops.TableMap("s", str, updates_in=True, updates_out=True).process(pairs, 0)) == [
        Update(None, "1"),
        Update("1", None),
    ]
    assert values(ops.TableMap("s", str, updates_in=True, updates_out=False).process(pairs, 0)) == ["1", None]
    assert values(ops.TableMap("s", str, updates_in=False, updates_out=False).process(records(1, None), 0)) == [
        "1",
        None,
    ]


def test_a_filter_behind_a_tables_map_knows_what_the_row_was() -> None:
    app = tm.App("test")
    app.table("a", key=tm.utf8, value=tm.json).map(lambda n: n + 1).filter(lambda n: n > 5).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for number in (1, 7, 8, 2, None, 9, None):
            driver.send("a", "k", number, 0)
        assert values(driver.read("out")) == [8, 9, None, 10, None]
