"""Rows that are packed into records: the same rows as one by one, in the partitions of their keys, from any row on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.engine.calls.async_calls import AsyncCallExecutor
from tidemill.engine.history import packing
from tidemill.engine.history.columns import FileColumns
from tidemill.engine.history.partitions import partitions_of
from tidemill.engine.history.pieces import Piece, encoded
from tidemill.engine.history.planning import pieces_at
from tidemill.engine.history.value_shapes import shape_of
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.murmur2 import murmur2_partition
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.tasks.task import Task
from tidemill.engine.watermarks.watermarks import seen_in
from tidemill.operators.graph.history import HistoryInput, HistoryRows, PackedRows, SourceHistory
from tidemill.operators.history.end_marker import end_row
from tidemill.operators.history.packed_rows import packed_row
from tidemill.operators.record import Batch, Row
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position

PARTITIONS = 3


class View(msgspec.Struct):
    user: str
    amount: float | None
    count: int = 7
    seen: bool = False
    tags: list[str] = msgspec.field(default_factory=list)


class Renamed(msgspec.Struct, rename={"who": "user"}):
    who: str


class Checked(msgspec.Struct):
    user: str

    def __post_init__(self) -> None:
        self.user += "!"


class ByName(msgspec.Struct, kw_only=True):
    user: str


class Timed(msgspec.Struct):
    at: dt.datetime
    end: dt.datetime | None = None


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    user: str


def columns(rows: int, /, **more: Any) -> dict[str, Any]:
    """Return columns with times in no order, of which some are equal."""
    return {
        "user": [f"user-{number * 7919 % 41}" for number in range(rows)],
        "amount": [number / 8 for number in range(rows)],
        "at": pa.array([number * 31 % 97 * 1000 for number in range(rows)], pa.timestamp("us")),
        **more,
    }


def found(folder: Path, value: Any, **history: Any) -> tuple[list[list[Any]], list[list[Any]], int]:
    """Return the rows of files by partition, packed and one by one, and how many records were packed."""
    source = HistoryInput("views", "topic", tm.utf8, value, own_time=False)
    rows = tm.history(f"file://{folder}", key="user", timestamp="at", **history)
    *pieces, _ = pieces_at(SourceHistory(0, rows, {}, source), lambda _: {}, ("", PARTITIONS))
    reader, unpacker, packed_records = rows.reader(source), rows.unpacker(source), 0
    as_packed: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    alone: list[list[Any]] = [[] for _ in range(PARTITIONS)]

    def place(into: list[list[Any]], each: HistoryRows, partition: int | None = None) -> None:
        for row in zip(*each, strict=True):
            at = murmur2_partition(row[0].encode(), PARTITIONS) if partition is None else partition
            into[at].append((row[0], value.decode(value.encode(row[1])), row[2]))

    for piece in pieces:
        assert isinstance(piece, Piece)
        for each in reader.read(encoded(piece)):
            if isinstance(each, PackedRows):
                packed_records += 1
                made = unpacker.unpack(each.data)
                assert (len(made.keys), max(made.timestamps)) == (each.number, each.newest)
                place(as_packed, made, each.partition)
            else:
                assert isinstance(each, HistoryRows)
                place(as_packed, each)
    slow = rows.reader(source)
    for piece in pieces:
        for each in slow.read(encoded(msgspec.structs.replace(piece, partitions=0))):
            assert isinstance(each, HistoryRows)
            place(alone, each)
    return as_packed, alone, packed_records


CASES: Mapping[str, tuple[list[dict[str, Any]], Any, bool]] = {
    "a model, and files that overlap": ([columns(500), columns(300)], tm.json(View), True),
    "all fields": ([columns(90, count=list(range(90)), seen=[True, False] * 45, more=["x"] * 90)], tm.json(View), True),
    "null for a field that takes it": ([columns(50, amount=[None, 2.0] * 25)], tm.json(View), True),
    "whole numbers for a float": ([columns(50, amount=pa.array(range(50), pa.int16()))], tm.json(View), True),
    "null for a field with a default": ([columns(50, count=[None, 2] * 25)], tm.json(View), False),
    "numbers as text": ([columns(50, count=[str(number) for number in range(50)])], tm.json(View), False),
    "a list": ([columns(4, tags=[["a"], [], ["b"], ["c"]])], tm.json(View), False),
    "plain objects": ([columns(90, count=[None, 1, 2] * 30)], tm.json, True),
    "times in a zone": ([columns(3, at=pa.array([0, 1, 2], pa.timestamp("ms", "Europe/Berlin")))], tm.json, True),
    "times in a model": ([columns(30)], tm.json(Timed), True),
    "plain objects without times": ([columns(90, count=[None, 1, 2] * 30)], (tm.json, ["user", "count"]), True),
    "a field of another name": ([columns(50)], tm.json(Renamed), True),
    "fields by name only": ([columns(50)], tm.json(ByName), False),
    "files with other columns": ([columns(50), columns(50, count=[1] * 50)], tm.json(View), False),
}


@pytest.mark.parametrize("case", CASES)
def test_packed_rows_are_those_that_are_read_one_by_one(case: str, tmp_path: Path) -> None:
    tables, value, is_packed = CASES[case]
    for number, each in enumerate(tables):
        pq.write_table(pa.table(each), tmp_path / f"{number}.parquet", row_group_size=200)
    value, names = value if isinstance(value, tuple) else (value, None)
    as_packed, alone, packed_records = found(tmp_path, value, columns=names)
    assert as_packed == alone
    assert sum(map(len, alone)) == sum(len(each["user"]) for each in tables)
    assert bool(packed_records) == is_packed


def test_numbers_that_json_does_not_have_are_not_packed(tmp_path: Path) -> None:
    pq.write_table(pa.table(columns(4, amount=[1.0, float("nan"), 2.0, 3.0])), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="JSON has no nan"):
        found(tmp_path, tm.json(View))


def test_times_that_python_does_not_have_are_not_packed() -> None:
    source = HistoryInput("views", "topic", tm.utf8, tm.json, own_time=False)
    for latest, is_packed in ((2**40, True), (2**60, False)):
        rows = pa.table({"at": pa.array([1, latest], pa.timestamp("ms"))})
        found = packing.packable(source, FileColumns(None, "at", ("at",)), rows, pa.array([1, 2]))
        assert (found is not None) == is_packed


def test_models_that_check_rows_themselves_are_not_packed() -> None:
    assert [shape_of(tm.json(model)) for model in (Checked, ByName, dict[str, int])] == [None, None, None]
    assert shape_of(tm.utf8) is None
    strict = shape_of(tm.json(Strict))
    assert strict is not None
    assert strict.strict


def test_records_are_small_enough_for_brokers(tmp_path: Path) -> None:
    """Also where some rows are much larger than others."""
    notes = ["x" * (700_000 if number < 3 else 10) for number in range(200)]
    pq.write_table(pa.table(columns(200, note=notes)), tmp_path / "a.parquet")
    as_packed, alone, packed_records = found(tmp_path, tm.json, columns=["note"])
    assert as_packed == alone
    assert packed_records > PARTITIONS
    rows = pa.table({"note": notes}).replace_schema_metadata({packing.KEY: "", packing.TIME: packing.TIME})
    rows = rows.append_column(packing.TIME, pa.array(range(200), pa.int64()))
    assert all(len(each.data) < 1_000_000 for each in packing.packed(rows, None, 1, None))


@given(st.lists(st.text(max_size=20) | st.text(min_size=250, max_size=300), max_size=30), st.integers(1, 40))
def test_partitions_are_those_of_kafkas_client(keys: list[str], partitions: int) -> None:
    column = pa.array(["passed", *keys], pa.string()).slice(1)
    assert partitions_of(column, partitions).tolist() == [murmur2_partition(key.encode(), partitions) for key in keys]


def test_a_commit_in_a_record_of_many_rows_is_gone_on_from(tmp_path: Path) -> None:
    """Each task takes a few rows, commits, and is replaced by one with the same store that reads the record again."""
    pq.write_table(pa.table(columns(500)), tmp_path / "a.parquet")
    old = tm.history(f"file://{tmp_path}", key="user", timestamp="at")
    app = tm.App("app")
    views = app.stream("views", key=tm.utf8, value=tm.json(View), history=old)
    counts = views.group_by_key().count().named("counts")
    counts.to("out", value=tm.int64)
    [part, _] = plan(partition(app.topology()), "app", {"views": 1}, {}).subtopologies
    [(topic, node)] = part.history_writers.items()
    history = node.history
    assert history is not None
    *pieces, _ = pieces_at(history, lambda _: {}, ("", 1))
    packed = [each for piece in pieces for each in old.reader(history.given).read(encoded(piece))]
    rows: list[Row] = [packed_row(each) for each in packed if isinstance(each, PackedRows)]
    rows.append(end_row(0, 5))
    assert len(rows) == len(packed) + 1
    made = [*zip(*rows, strict=True)]
    headers = [tuple(each) for each in made[3]]
    batch = Batch(topic, 0, list(made[0]), list(made[1]), list(made[2]), list(range(3, 3 + len(rows))), headers, 9)
    key, stores = (topic, 0), {kind: MemoryStore() for kind in ("rocksdb", "memory")}
    offset, metadata, last, passed = 3, "", -1, list[int]()
    for number in range(2_000):
        task = Task(TaskId(0, 0), part, stores, {key: offset}, calls=AsyncCallExecutor(), seen={key: seen_in(metadata)})
        newer = batch if offset == 3 else batch.after(offset - 4)
        if newer is None:
            break
        task.offer(newer, 0)
        task.caught_up(key, True, 3 + len(rows))
        outgoing = task.advance(0, limit=1 + number % 30) or []
        passed += [int.from_bytes(row[1] or b"", "big") for out in outgoing for row in out.rows]
        if number % 3 == 0:  # what was not committed is done again
            del passed[len(passed) - sum(len(out.rows) for out in outgoing) :]
            assert task.discard() == {key: offset}
            continue
        work = task.prepare_commit()
        assert list(work.inputs().values()) > [last]
        [last], offset, metadata = work.inputs().values(), work.offsets[key], work.metadata(key)
        task.complete_commit(Position())
    wanted: dict[str, int] = {}
    times = pa.array(columns(500)["at"]).cast(pa.int64()).to_pylist()
    users = [user for _, user in sorted(zip(times, columns(500)["user"], strict=True), key=lambda pair: pair[0])]
    for place, user in enumerate(users):
        wanted[user] = wanted.get(user, 0) + 1
        assert passed[place] == wanted[user]
    assert len(passed) == 500
    assert seen_in(metadata).begins == 5
