"""Tests of window arithmetic against counting, and of windowed folds against a slow model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.operators.aggregates.fold import counting
from tidemill.operators.stores.entries import STREAM_TIME_KEY, windowed_codec
from tidemill.operators.time.windows import Emit, TimeWindows
from tidemill.operators.windows.window_operator import WindowConfig
from tidemill.operators.windows.windowed import WindowedFold, windowed_loop
from tidemill.state.keys import split_window_key
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position
from tidemill.state.window_cache import WindowCache


@st.composite
def windows(draw: st.DrawFn) -> TimeWindows:
    size = draw(st.integers(1, 12))
    return TimeWindows(size, draw(st.integers(1, size)), draw(st.integers(0, 15)))


@given(windows(), st.integers(0, 60))
def test_starts_are_those_of_all_windows_that_hold_the_time(w: TimeWindows, time: int) -> None:
    assert list(w.starts(time)) == [s for s in range(0, time + 1, w.advance) if s <= time < s + w.size]


@given(windows(), st.integers(-1, 60))
def test_closing(w: TimeWindows, time: int) -> None:
    starts = range(0, 100, w.advance)
    assert [s for s in starts if s < w.closed_before(time)] == [s for s in starts if s + w.size + w.grace <= time]
    following = next(t for t in range(time + 1, 200) if any(s + w.size + w.grace == t for s in starts))
    assert w.next_close(time) == following


@given(windows(), st.integers(0, 60), st.booleans())
def test_expiry(w: TimeWindows, time: int, on_close: bool) -> None:
    starts = range(0, 100, w.advance)
    newest = max(s for s in starts if s <= time)
    assert w.newest_start(time) == newest
    forgotten = [s for s in starts if s + w.span < newest or (s + w.span == newest and not on_close)]
    assert [s for s in starts if s < w.expired_before(time, on_close=on_close)] == forgotten


def test_words() -> None:
    assert tm.tumbling("1m", grace="10s") == TimeWindows(60_000, 60_000, 10_000)
    assert tm.hopping("10m", every="1m") == TimeWindows(600_000, 60_000, 0)
    assert str(tm.tumbling("1m")) == "tumbling 1m, grace 0s"
    assert str(tm.hopping("10m", every="90s", grace="5s")) == "hopping 10m every 1m30s, grace 5s"


def test_mistakes() -> None:
    with pytest.raises(tm.TopologyError, match="the size of tumbling windows: 0 must be at least '1ms'"):
        tm.tumbling(0)
    with pytest.raises(tm.TopologyError, match="leave gaps between them"):
        tm.hopping("1m", every="2m")
    with pytest.raises(tm.TopologyError, match="grace: -1 must not be negative"):
        tm.tumbling("1m", grace=-1)
    with pytest.raises(tm.TopologyError, match="takes windows such as"):
        tm.App("x").stream("a").group_by_key().window(untyped("1m"))


class Model:
    """The rules in the simplest implementation: windows by key, with a list of values each."""

    def __init__(self, w: TimeWindows, emit: Emit) -> None:
        self.w, self.emit = w, emit
        self.time = -1
        self.state: dict[tuple[int, str], list[int]] = {}
        self.times: dict[tuple[int, str], int] = {}
        self.late = 0

    def process(self, key: str, time: int, value: int) -> list[Any]:
        w, before = self.w, self.time
        self.time = max(before, time)
        found: list[Any] = []
        for start in [s for s in range(0, time + 1, w.advance) if s <= time < s + w.size]:
            if start + w.size + w.grace <= self.time:
                self.late += 1
                continue
            slot = (start, key)
            self.state.setdefault(slot, []).append(value)
            self.times[slot] = max(self.times.get(slot, 0), time)
            if not self.emit.on_close:
                found.append(self.result(slot))
        newest = self.time // w.advance * w.advance
        if self.emit.on_close:
            closing = [s for s in sorted(self.state) if before < s[0] + w.size + w.grace <= self.time]
            if self.emit.drop_expired:
                closing = [s for s in closing if s[0] >= newest - w.size - w.grace]
            found += [self.result(slot) for slot in closing]
        for slot in list(self.state):
            end = slot[0] + w.size + w.grace
            if end < newest or (end == newest and not self.emit.on_close):
                del self.state[slot]
        return found

    def result(self, slot: tuple[int, str]) -> Any:
        start, key = slot
        return tm.Windowed(key, start, start + self.w.size), list(self.state[slot]), self.times[slot]


events = st.lists(
    st.tuples(st.sampled_from("kl"), st.integers(0, 50) | st.integers(200, 250), st.integers(0, 9)), max_size=25
)


@given(windows(), st.builds(Emit, st.booleans(), st.booleans()), events)
def test_folds_in_windows(w: TimeWindows, emit: Emit, given_events: Iterable[tuple[str, int, int]]) -> None:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(w)
    stream = stream.emit("close" if emit.on_close else "update", expired="drop" if emit.drop_expired else "emit")
    stream.aggregate(list, lambda so_far, value: [*so_far, value]).named("w").to("out")
    model = Model(w, emit)
    with tm.testing.TopologyDriver(app) as driver:
        for key, time, value in given_events:
            driver.send("a", key, value, time)
            assert [(r.key, r.value, r.timestamp) for r in driver.read("out")] == model.process(key, time, value)
        assert driver.dropped.get(("w", "late"), 0) == model.late
        kept = {(windowed.start, windowed.key): value for windowed, value in driver.store("w").items()}
        assert kept == model.state


def test_expiry_reads_only_what_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each range that is forgotten begins where the last one ended, and there is none while no window ends."""
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.tumbling(10, grace=20)).count().named("w")
    ranges: list[tuple[int, int]] = []
    forget = WindowCache.forget

    def noting(self: WindowCache, first: int, after: int) -> None:
        ranges.append((first, after))
        forget(self, first, after)

    monkeypatch.setattr(WindowCache, "forget", noting)
    with tm.testing.TopologyDriver(app) as driver:
        for time in range(0, 1000, 2):
            driver.send("a", "k", 1, time)
    assert ranges == [(max(start - 9, 0), start + 1) for start in range(0, 970, 10)]


def test_entries_of_windows_that_were_larger_once_are_forgotten_too() -> None:
    """A program that is restarted with less grace does not keep what the old grace kept."""
    store = MemoryStore()

    def counted(grace: int, times: list[int]) -> list[int]:
        w = TimeWindows(10, 10, grace)
        fold = counting(tm.auto)
        cache = WindowCache(store, "s", windowed_codec(tm.utf8, fold.keep, fold.restore))
        loop = windowed_loop(fold, w, Emit(), updates=False, watermarked=False)
        config = WindowConfig("s", fold.functions(), Emit(), updates=False, late=False, watermarked=False)
        step = WindowedFold(config, cache, w, loop)
        step.process([tm.Record("k", 1, time) for time in times], 0)
        store.apply(cache.drain(), Position())
        return [split_window_key(key)[0] for key, _ in store.scan("s", b"", None)]

    assert counted(100, [5, 15, 25, 35]) == [STREAM_TIME_KEY[0], 0, 10, 20, 30]
    assert counted(0, [45]) == [STREAM_TIME_KEY[0], 40]
