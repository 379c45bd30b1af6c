"""Windows that a step has made expire as those that a scan finds: at the same records, in the same order."""

from __future__ import annotations

import random
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.windows import new_windows
from tidemill.operators.windows.new_windows import NEVER, NewWindows
from tidemill.state.changes import Changes
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position
from tidemill.state.window_cache import cache_of

KEYS: dict[str, tuple[Any, list[Any]]] = {
    "text": (tm.utf8, ["a", "b", "c", "d", "e"]),
    "equal": (tm.json, [1, True, 1.0, 0, False, "a"]),
}


def changes_of(seed: int, kind: str, emit: Any, *, deleting: bool) -> tuple[list[Any], list[Any]]:
    """Return the results of each run and the changes of each commit; at times the step begins again."""
    chance = random.Random(seed)
    serde, keys = KEYS[kind]
    app = tm.App("test")
    windowed = app.stream("a", key=serde, value=tm.json).group_by_key().window(tm.sliding(20, grace=15)).emit(emit)
    if deleting:
        windowed.aggregate(0, lambda total, value: total + value if (total + value) % 4 else None)
    else:
        windowed.count()
    [node] = [node for node in app.topology().nodes if node.stores]
    [state] = node.stores
    store = MemoryStore()
    results: list[Any] = []
    written: list[Any] = []
    time, now = 100, 0
    for _ in range(8):
        cache = cache_of(store, state.spec.name, state.codec)
        if kind == "equal":
            cache.by_bytes()
        operator = node.build({state.spec.name: cache})
        for _ in range(3):
            records: list[Any] = []
            for _ in range(chance.randrange(30)):
                time += chance.choice((0, 1, 1, 2, 5, 30))
                at = max(0, time - chance.choice((0, 0, 3, 12, 25)))
                records.append(tm.Record(chance.choice(keys), chance.randrange(9), at))
            now += 400
            results.append(operator.process(records, now))
            results.append(operator.tick(now))
            if chance.random() < 0.7:
                changes = Changes(cache.drain().columns)
                written += [(change.key, change.value) for change in changes]
                store.apply(changes, Position())
                cache.complete_commit()
                cache.trim(chance.choice((0, 1 << 20)))
        store.apply(Changes(cache.drain().columns), Position())
    return results, written


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("emit", ["update", "close", tm.every("1s")])
@pytest.mark.parametrize("deleting", [False, True])
def test_windows_expire_as_by_scans(kind: str, emit: Any, deleting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        found: list[Any] = []
        for most in (0, 3, 50_000):
            monkeypatch.setattr(new_windows, "MOST", most)
            found.append(changes_of(seed, kind, emit, deleting=deleting))
        assert found[0] == found[1] == found[2]
        assert sum(value is None for _, value in found[0][1]) > 10


def test_too_many_windows_are_left_to_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_windows, "MOST", 3)
    windows = NewWindows(10)
    assert windows.oldest == NEVER
    assert windows.add(10, "a") == 10
    assert [windows.add(start, key) for start, key in ((30, "b"), (20, "b"), (30, "a"))] == [None, None, None]
    assert windows.oldest == 20
    assert windows.add(25, "a") == 20
    assert (windows.bound, windows.oldest) == (30, NEVER)
    assert windows.add(30, "c") == 30
    assert windows.add(31, "c") is None
    assert windows.add(31, "a") is None
    assert windows.take(31, repr_of) == []
    assert windows.take(32, repr_of) == [(31, "a"), (31, "c")]
    assert windows.take(99, repr_of) == []


def repr_of(slot: Any) -> bytes:
    return repr(slot).encode()
