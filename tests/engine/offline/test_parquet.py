"""Columns of Parquet files: types that the values have, whatever the values are and however they are batched."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.offline.entries import DumpedRow
from tidemill.engine.offline.parquet import ParquetWriter
from tidemill.operators.graph.store_rows import StoreRow


def written(path: Path, *batches: list[Any]) -> list[dict[str, Any]]:
    writer = ParquetWriter(path)
    for values in batches:
        writer.write([DumpedRow(StoreRow("k", value), "0_0", "", 1) for value in values])
    writer.finish()
    return pq.read_table(path).to_pylist()


def column(path: Path, *batches: list[Any], name: str = "value") -> list[Any]:
    return [row[name] for row in written(path, *batches)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.parquet"


def test_columns_that_appear_later_and_widen(path: Path) -> None:
    found = written(path, [{"n": 1}], [{"n": 1.5, "word": "x"}, {"n": None}])
    assert [row["value_n"] for row in found] == [1.0, 1.5, None]
    assert [row["value_word"] for row in found] == [None, "x", None]
    assert len(list(path.parent.iterdir())) == 1


def test_values_without_a_common_type_are_json(path: Path) -> None:
    assert column(path, [1, 2], ["a", None], [{}]) == ["1", "2", '"a"', None, "{}"]
    assert column(path, [[1]], [["a"]]) == ["[1]", '["a"]']
    assert column(path, [2**70]) == [str(2**70)]


def test_objects_inside_are_structs_as_long_as_they_have_few_fields(path: Path) -> None:
    assert column(path, [{"at": {"x": 1}}], [{"at": {"y": "b"}}], name="value_at") == [
        {"x": 1, "y": None},
        {"x": None, "y": "b"},
    ]
    wide = {f"u{n}": n for n in range(300)}
    assert list(map(json.loads, column(path, [{"by": wide}], name="value_by"))) == [wide]


def test_bytes_and_times_stay_what_they_are(path: Path) -> None:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
    assert column(path, [b"\x00\xff"]) == [b"\x00\xff"]
    assert column(path, [at, None]) == [at, None]


def test_an_empty_store_is_an_empty_table(path: Path) -> None:
    assert written(path) == []
    assert pq.read_table(path).column_names == ["key", "task"]


def test_what_is_always_none_is_a_column_of_text(path: Path) -> None:
    assert written(path, [{"x": None, "in": {"y": None}}]) == [
        {"key": "k", "value_x": None, "value_in": {"y": None}, "task": "0_0"}
    ]
    assert str(pq.read_schema(path).field("value_x").type) == "string"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@examples(200)
@given(st.lists(st.lists(values, min_size=1, max_size=3), max_size=4))
def test_any_values_in_any_batches(batches: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = written(Path(folder) / "x.parquet", *batches)
    flat = [value for batch in batches for value in batch]
    assert len(rows) == len(flat)
    for row, value in zip(rows, flat, strict=True):
        if isinstance(value, dict) and value:
            assert all(same(row[f"value_{name}"], part) for name, part in value.items())
        else:
            assert same(row.get("value"), value)


def same(found: Any, value: Any) -> bool:
    """What a column holds is the value, a wider number, an object with more fields, or JSON of it."""
    if isinstance(found, str) and not (isinstance(value, str) and found == value):
        return same(json.loads(found), value)
    if isinstance(value, dict) and isinstance(found, dict):
        return all(same(part, value.get(name)) for name, part in found.items()) and value.keys() <= found.keys()
    if isinstance(value, list) and isinstance(found, list):
        return len(found) == len(value) and all(map(same, found, value))
    return found == value or (isinstance(value, int) and isinstance(found, float) and found == float(value))
