"""Rows of a Faust table in a task: what agents see, and what a commit gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidemill.engine.faust.tasks.rows import ABSENT, FaustRows
from tidemill.state.memory import MemoryStore
from tidemill.state.store import VERSION, Change, Position, StoredRows


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


class Stage:
    """Rows over a store, and the commits between the two."""

    def __init__(self, limit: int = 100) -> None:
        self.store = MemoryStore()
        self.rows = FaustRows(StoredRows(self.store, "table"), encode, json.loads, limit)

    def commit(self) -> dict[bytes, bytes | None]:
        changes = self.rows.take_changes()
        framed = ((key, None if value is None else VERSION + value) for key, value in changes.items())
        self.store.apply([Change("table", key, value) for key, value in framed], Position())
        return changes


def test_a_row_is_read_before_and_after_its_commit() -> None:
    stage = Stage()
    assert stage.rows.get(b"a") is ABSENT
    stage.rows.put(b"a", 1)
    assert stage.rows.get(b"a") == 1
    assert stage.commit() == {b"a": b"1"}
    assert not stage.rows.dirty
    assert stage.rows.get(b"a") == 1
    assert stage.commit() == {}


def test_a_row_that_was_written_many_times_is_one_change() -> None:
    stage = Stage()
    for number in range(10):
        stage.rows.put(b"a", number)
    assert stage.commit() == {b"a": b"9"}


def test_a_deleted_row_is_gone_and_its_deletion_is_a_change() -> None:
    stage = Stage()
    stage.rows.put(b"a", 1)
    stage.commit()
    stage.rows.delete(b"a")
    assert not stage.rows.has(b"a")
    assert stage.commit() == {b"a": None}
    assert list(stage.rows.items()) == []


def test_what_is_done_to_a_value_that_was_read_changes_nothing() -> None:
    stage = Stage()
    value = {"n": 1}
    stage.rows.put(b"a", value)
    value["n"] = 2
    stage.rows.get(b"a")["n"] = 3
    assert stage.rows.get(b"a") == {"n": 1}
    assert stage.commit() == {b"a": b'{"n": 1}'}


def test_a_live_value_is_encoded_when_it_is_taken() -> None:
    stage = Stage()
    members = [1]
    stage.rows.put_live(b"a", lambda: members)
    members.append(2)
    assert stage.commit() == {b"a": b"[1, 2]"}


@pytest.mark.parametrize("limit", [0, 2, 100])
def test_rows_that_are_not_kept_are_read_from_the_store(limit: int) -> None:
    stage = Stage(limit)
    for number in range(5):
        stage.rows.put(str(number).encode(), number)
        stage.commit()
    stage.rows.put(b"7", [7])
    stage.rows.delete(b"1")
    found = dict(stage.rows.items())
    assert found == {b"0": 0, b"2": 2, b"3": 3, b"4": 4, b"7": [7]}
    assert all(stage.rows.get(key) == value for key, value in found.items())


def test_rows_that_wait_for_their_commit_are_kept_until_it_has_succeeded() -> None:
    stage = Stage(limit=0)
    stage.rows.put(b"a", 1)
    stage.rows.take_changes()  # a commit is under way: the store does not have the row
    assert stage.rows.get(b"a") == 1
    assert list(stage.rows.items()) == [(b"a", 1)]
