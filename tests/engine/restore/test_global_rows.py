"""Tests of the rows of a global table in a process: stored as in the topic, decoded at lookups."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.engine.restore.global_rows import GlobalRows, place
from tidemill.operators.record import Batch
from tidemill.state.memory import MemoryStore
from tidemill.state.store import CorruptStore, StateError, Store


def rows(store: Store | None = None, policy: tm.ErrorPolicy = tm.fail, memory: int = 1 << 20) -> GlobalRows:
    app = tm.App("test")
    table = app.global_table("g", key=tm.utf8, value=tm.json, name="rates")
    app.stream("a").join(table, lambda a, g: a).to("out")
    [node] = app.topology().global_tables
    return GlobalRows(node, store or MemoryStore(), policy, memory)


def batch(partition: int, first: int, *pairs: tuple[str | None, Any]) -> Batch:
    keys = [None if key is None else key.encode() for key, _ in pairs]
    values = [None if value is None else tm.json.encode(value) for _, value in pairs]
    return Batch("g", partition, keys, values, [5] * len(pairs), list(range(first, first + len(pairs))), None, 0)


updates = st.lists(st.tuples(st.sampled_from("klmnop"), st.none() | st.integers()), min_size=1, max_size=4)


@given(st.lists(st.tuples(updates, st.lists(st.sampled_from("klmnop")))), st.sampled_from([0, 700, 1 << 20]))
def test_a_lookup_returns_the_newest_row(turns: list[tuple[Any, list[str]]], memory: int) -> None:
    """Whatever the number of decoded rows in the cache."""
    table = rows(memory=memory)
    model: dict[str, Any] = {}
    offset = 0
    for pairs, looked_up in turns:
        table.apply(batch(1, offset, *pairs))
        offset += len(pairs)
        model.update(pairs)
        for key in looked_up:
            assert table[key] == (None if model.get(key) is None else (5, model[key]))
        assert table.store.position().changelogs == {place("g", 1): offset}
        assert len(table._known) * 300 <= memory + 300


def test_the_position_is_that_of_each_partition() -> None:
    table = rows()
    table.apply(batch(0, 3, ("k", 1), (None, 2), ("l", None)))
    table.moved("g", 1, 9)
    assert table.store.position().changelogs == {"g:0": 6, "g:1": 9}
    assert table.drops() == {("rates", "null key"): 1}


def test_a_record_that_cannot_be_read_is_dealt_with_by_the_policy() -> None:
    broken = batch(2, 7, ("k", 1), ("k", 2), ("l", 3))
    broken.values[1] = b"{"
    with pytest.raises(tm.RecordError, match=r"'rates' could not decode a record.*topic 'g', partition 2, offset 8"):
        rows().apply(broken)
    table = rows(policy=tm.skip)
    table.apply(broken)
    assert (table["k"], table["l"]) == ((5, 1), (5, 3))
    assert table.drops() == {("rates", "undecodable"): 1}
    assert table.store.position().changelogs == {"g:2": 10}


def test_rows_of_an_emptied_table_are_no_longer_visible() -> None:
    table = rows()
    table.apply(batch(0, 0, ("k", 1)))
    assert table["k"] == (5, 1)
    table.empty()
    assert table["k"] is None
    assert table.store.position().changelogs == {}


class Interrupted(MemoryStore):
    """Ends when the rows are to be removed."""

    def clear(self, store: str) -> None:
        if store == "rates":
            raise KeyboardInterrupt
        super().clear(store)


def test_a_partly_emptied_table_is_not_reported_as_complete() -> None:
    table = rows(Interrupted())
    table.apply(batch(0, 0, ("k", 1)))
    with pytest.raises(KeyboardInterrupt):
        table.empty()
    assert table.store.position().changelogs == {}


class Broken(MemoryStore):
    """Cannot be read."""

    def get(self, store: str, key: bytes) -> bytes | None:
        raise CorruptStore("a block is not what was written")


def test_a_store_that_cannot_be_read_is_rebuilt_by_the_next_start() -> None:
    """The error must not look like one of the task's own stores, which would be wiped in its place."""
    table = rows(Broken())
    table.apply(batch(0, 0, ("k", 1)))
    with pytest.raises(StateError, match="global table 'rates' cannot be read: a block") as caught:
        table["k"]
    assert not isinstance(caught.value, CorruptStore)
    assert table.store.position().changelogs == {}


def test_it_remembers_which_topic_it_is_of() -> None:
    store = MemoryStore()
    assert rows(store).identity == ""
    rows(store).identify("topic 1")
    table = rows(store)
    table.empty()
    assert table.identity == "topic 1"
