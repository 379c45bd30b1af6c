"""Tests of versioned stores against a plain list: versions as of a time, their validity, and expiry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.version_models import HISTORY, Put, Versioned
from tidemill.operators.stores.versions import Versions, versions_codec
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position

puts = st.lists(
    st.builds(Put, st.sampled_from("kl"), st.none() | st.integers(0, 9), st.integers(0, 90)), min_size=1, max_size=40
)


class Kept:
    """Versions over a store, which are committed now and then."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.codec = versions_codec(tm.utf8, tm.json)
        self.cache: StateCache[Any, Any] = StateCache(self.store, "s", self.codec)
        self.versions = Versions(self.cache, tm.utf8.encode, HISTORY)

    def commit(self) -> None:
        self.store.apply(self.cache.drain(), Position())
        self.cache.complete_commit()
        self.cache.discard()

    def slots(self) -> Iterator[Any]:
        return (slot for slot, _ in self.cache.scan(b"\x01", b"\x02") if isinstance(slot, tuple))


@given(puts, st.sets(st.integers(0, 40)))
def test_versions_are_what_was_put(sent: list[Put], commits: set[int]) -> None:
    model, kept = Versioned(), Kept()
    for place, put in enumerate(sent):
        assert kept.versions.put(put.key, put.value, put.time) == model.put(put)
        if place in commits:
            kept.commit()
        for key in "kl":
            newest = max(model.taken[key], default=None)
            found = kept.versions.newest(key)
            assert (None if found is None else found.value) == (None if newest is None else model.taken[key][newest])
            for time in range(-1, 95, 3):
                assert kept.versions.as_of(key, time) == model.as_of(key, time)


@given(puts)
def test_versions_that_can_no_longer_be_found_are_deleted(sent: list[Put]) -> None:
    kept = Kept()
    for put in sent:
        kept.versions.put(put.key, put.value, put.time)
    kept.versions.put("other", 0, 90 + 2 * HISTORY)
    kept.commit()
    left = dict(kept.cache.scan(b"\x01", b"\x02"))
    assert all(version.value is not None for version in left.values())
    assert len(left) == len({slot[0] for slot in left})
    assert list(kept.cache.scan(b"\x02", None)) == []


def test_a_table_returns_its_former_rows() -> None:
    app = tm.App("test")
    prices = app.table("prices", key=tm.utf8, value=tm.int64, history=60)
    prices.to("changes")
    app.stream("more", key=tm.utf8, value=tm.int64).to_table(history=60).named("more")
    with tm.testing.TopologyDriver(app) as driver:
        for price, time in ((3, 10), (5, 30), (4, 20), (None, 40), (9, 300), (1, 200)):
            driver.send("prices", "lamp", price, time)
        driver.send("more", "lamp", 1, 5)
        assert [(r.value, r.timestamp) for r in driver.read("changes")] == [(3, 10), (5, 30), (None, 40), (9, 300)]
        store = driver.store("prices")
        assert (store.get("lamp"), store.get("lamp", as_of=250), dict(store.items())) == (9, None, {"lamp": 9})
        assert driver.dropped == {("prices", "older than the history"): 1}
        assert driver.store("more").get("lamp", as_of=4) is None
        assert driver.store("more").get("lamp", as_of=5) == 1


def test_a_store_without_a_history_raises_an_error() -> None:
    app = tm.App("test")
    app.table("prices", key=tm.utf8, value=tm.int64)
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(TypeError, match="has no history"):
        driver.store("prices").get("lamp", as_of=1)


class Looking(tm.Processor[str, int, Any]):
    price = tm.VersionedState(list, history=60)

    def process(self, value: int, ctx: tm.Context[str]) -> list[Any]:
        if value < 0:
            self.price.put([value], ctx.timestamp)
            raise ValueError("negative")
        until = self.price.put([value] if value else None, ctx.timestamp)
        self.price.put([value, "before"], ctx.timestamp - 10)
        found = self.price.version(ctx.timestamp - 1)
        got = self.price.get()
        if got is not None:
            got.append("a copy")
        return [[until, found, self.price.get(), self.price.get(ctx.timestamp - 10)]]


def test_a_processor_keeps_versions() -> None:
    app = tm.App("test", on_error=tm.skip)
    app.stream("a", key=tm.utf8, value=tm.int64).process(Looking).named("p").to("out", value=tm.json)
    with tm.testing.TopologyDriver(app) as driver:
        for value, time in ((3, 10), (-1, 15), (5, 20), (4, 12), (0, 100), (7, 20)):
            driver.send("a", "k", value, time)
        assert [record.value for record in driver.read("out")] == [
            [None, [0, [3, "before"]], [3], [3, "before"]],
            [None, [10, [5, "before"]], [5], [5, "before"]],
            [20, [10, [5, "before"]], [5], [4, "before"]],
            [None, [90, [0, "before"]], None, [0, "before"]],
            [20, None, None, None],
        ]
        assert driver.dropped["p", "older than the history"] == 2
        assert driver.store("p-price").get("k", as_of=90) == [0, "before"]


def test_there_are_no_versions_before_time_began() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.int64).process(Looking)
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError, match="-5 is no time"):
        driver.send("a", "k", 1, 5)
