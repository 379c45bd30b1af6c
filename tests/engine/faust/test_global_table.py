"""Global tables: two processes with a task each, which see each other's rows when these are committed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import faust
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.faust.tasks.global_table import GlobalTableStore
from tidemill.engine.faust.tasks.rows import FaustRows
from tidemill.operators.record import Batch
from tidemill.state.memory import MemoryStore
from tidemill.state.store import VERSION, Change, Position, StoredRows

app = faust.App("global")
table: Any = app.GlobalTable("rows")


class Process:
    """A process with the task of one partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.works: list[Any] = []
        self.table: Any = GlobalTableStore(table, lambda: self.works)
        self.table.writable = lambda: self.rows
        self.stored = MemoryStore()
        self.restart()

    def restart(self) -> None:
        """Open the task again: what was not committed is gone."""
        stored = StoredRows(self.stored, "rows")
        self.rows = FaustRows(stored, self.table.encoded_value, self.table.decoded_value, 100)
        self.works[:] = [SimpleNamespace(partition=self.partition, tables={"rows": self.rows})]

    def commit(self, others: list[Process]) -> None:
        """Commit, and let the other processes read the changelog."""
        changes = {key: None if value is None else VERSION + value for key, value in self.rows.take_changes().items()}
        self.stored.apply([Change("rows", key, value) for key, value in changes.items()], Position())
        keys, values = list(changes), list(changes.values())
        numbers = list(range(len(keys)))
        for other in others:
            other.table.committed(Batch("changelog", self.partition, keys, values, numbers, numbers, None, 0))  # pyright: ignore[reportArgumentType]


KEYS = st.sampled_from(["a", "b"])
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.tuples(KEYS, st.none() | st.integers(0, 9)), st.just("restart")))
)


@examples(200)
@given(STEPS)
def test_all_see_what_was_written_last(steps: list[tuple[int, Any]]) -> None:
    processes = [Process(0), Process(1)]
    wanted: dict[str, int] = {}
    for number, what in steps:
        process = processes[number]
        if what == "restart":
            process.restart()
            continue
        key, value = what
        if value is None:
            if key in process.table:
                del process.table[key]
            wanted.pop(key, None)
        else:
            process.table[key] = value
            wanted[key] = value
        process.commit(processes)
        for each in processes:
            assert dict(each.table.items()) == wanted
            assert {key: each.table.get(key) for key in ("a", "b") if key in each.table} == wanted
    for process in processes:
        process.restart()
        assert dict(process.table.items()) == wanted


def test_a_key_that_only_this_task_had_leaves_no_row() -> None:
    process, other = Process(0), Process(1)
    process.table["a"] = 1
    process.commit([other])
    del process.table["a"]
    process.commit([other])
    assert list(process.stored.scan("rows", b"", None)) == []
    assert list(other.table) == []


def test_what_was_not_committed_is_gone_with_its_task() -> None:
    process = Process(0)
    process.table["a"] = 1
    process.commit([])
    process.table["a"] = 2
    assert process.table["a"] == 2
    process.restart()
    assert process.table["a"] == 1
    with pytest.raises(KeyError):
        process.table["b"]
