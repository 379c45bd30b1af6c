"""`map_async(journal=True)` step by step: calls end, commits happen and processes crash when the test says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.operators.errors import RecordError, TopologyError
from tidemill.operators.graph.calls import AsyncCall
from tidemill.operators.serdes.auto import auto
from tidemill.operators.stateless.journal import journal_codec
from tidemill.operators.stateless.journaled_map import JournaledMap
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position

from .test_async_map import OPTIONS, Line, records, values


class Owners:
    """A step that is rebuilt after each crash, its store, and the records that were read again."""

    def __init__(self, *, in_flight: int = 3, ordered: bool = True) -> None:
        self.store = MemoryStore()
        self.cache: Any = StateCache(self.store, "s", journal_codec(auto, auto))
        self._in_flight, self._ordered = in_flight, ordered
        self.built = 0
        self.calls: list[AsyncCall] = []
        """All calls that were made, by all owners."""
        self.committed: set[int] = set()
        """The values whose results a commit has."""
        self.read, self.sent = 0, list[int]()
        self._at_commit = 0, 0
        self.build()

    def build(self) -> None:
        self.built += 1
        self.line = Line()
        self.line.prefix = f"owner-{self.built}"
        start = self.line.start
        self.line.start = lambda calls: (self._check(made := list(calls)), start(made))[1]
        self.step = JournaledMap(
            "s", self.cache, str, auto, auto, OPTIONS, in_flight=self._in_flight, ordered=self._ordered
        )
        self.step.attach(self.line)

    def _check(self, calls: list[AsyncCall]) -> None:
        for call in calls:
            assert call.value not in self.committed, "its result is in the journal"
            assert call.value < self._at_commit[0], "no commit has its key"
            assert {c.key for c in self.calls if c.value == call.value} <= {call.key}, "each time with the same key"
            assert {c.value for c in self.calls if c.key == call.key} <= {call.value}, "a key is of one record"
            self.calls.append(call)

    def feed(self) -> None:
        if self.step.room > 0:
            self.step.process(records(self.read, self.read + 1), 0)
            self.read += 2

    def collect(self) -> None:
        self.sent += values(self.step.collect(0))

    def commit(self) -> None:
        self.store.apply(self.cache.drain(), Position())
        self.cache.complete_commit()
        self._at_commit = self.read, len(self.sent)
        entries = self.cache.scan(b"", None)
        self.committed |= {entry.record.value for _, entry in entries if entry.result is not None}

    def crash(self) -> None:
        """Lose what no commit has; a new owner reads from the committed offset."""
        self.cache.discard()
        self.read, sent = self._at_commit
        del self.sent[sent:]
        self.build()


@examples(200)
@given(
    ordered=st.booleans(),
    in_flight=st.integers(1, 4),
    steps=st.lists(st.sampled_from(["feed", "collect", "commit", "crash"]) | st.integers(0, 5), max_size=80),
)
def test_a_call_whose_result_is_committed_is_not_made_again(ordered: bool, in_flight: int, steps: list[Any]) -> None:
    owners = Owners(in_flight=in_flight, ordered=ordered)
    for step in steps:
        if isinstance(step, str):
            getattr(owners, step)()
        elif owners.line.under_way:
            owners.line.end(step)
        assert owners.line.most <= in_flight
    while owners.step.waiting:
        owners.commit()
        owners.collect()
        while owners.line.under_way:
            owners.line.end(-1)
    owners.commit()
    assert sorted(owners.sent) == [value * 10 for value in range(owners.read)]
    assert not ordered or owners.sent == sorted(owners.sent)
    assert list(owners.store.scan("s", b"", None)) == []


def test_a_result_waits_for_a_commit() -> None:
    owners = Owners()
    owners.feed()
    owners.collect()
    assert owners.line.under_way == [], "the record is in no commit"
    owners.commit()
    owners.collect()
    owners.line.end(0)
    owners.line.end(0)
    owners.collect()
    assert owners.sent == [], "the results are in no commit"
    owners.commit()
    owners.collect()
    assert owners.sent == [0, 10]


def test_a_failed_call_is_the_records_error() -> None:
    owners = Owners()
    owners.feed()
    owners.commit()
    owners.collect()
    owners.line.end(0, ValueError("no such customer"))
    with pytest.raises(RecordError, match="no such customer"):
        owners.collect()
    assert owners.step.waiting == 1


def test_a_result_that_cannot_be_stored_is_the_records_error() -> None:
    async def odd(value: Any, call: tm.CallContext) -> Any:
        return object()

    app = tm.App("odd", on_error=tm.skip)
    app.stream("in", value=tm.json).map_async(odd, journal=True, value=tm.json).named("odd").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", value=1, timestamp=1)
        assert driver.read("out") == []
        assert sum(driver.dropped.values()) == 1


def test_a_function_gets_the_value_and_the_key_of_the_call() -> None:
    keys: list[str] = []

    async def score(value: Any, call: tm.CallContext) -> Any:
        keys.append(call.key)
        return None if value == 2 else value * 10

    app = tm.App("scores")
    app.stream("in", value=tm.json).map_async(score, journal=True, value=tm.json).to("out", value=tm.json)
    with tm.testing.TopologyDriver(app) as driver:
        for value in (1, 2, 3):
            driver.send("in", value=value, timestamp=value)
        assert [row.value for row in driver.read("out")] == [10, None, 30]
    assert len(set(keys)) == 3
    assert all(keys)


def test_a_function_of_the_value_alone_is_refused() -> None:
    async def score(value: Any) -> Any:
        return value

    app = tm.App("scores")
    with pytest.raises(TopologyError, match="gets the value and a CallContext"):
        app.stream("in", value=tm.json).map_async(score, journal=True)  # pyright: ignore[reportArgumentType, reportCallIssue]
