"""Tests of the cyclic garbage collector: it runs after commits, and its settings are restored at the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.runtime.garbage_collection import ALL_MS, YOUNG_MS, GarbageCollector, deferred_collection

pytestmark = pytest.mark.slow  # the objects of all tests are collected


class Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_python_has_it() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.enable()


def test_cycles_are_collected_after_some_commits() -> None:
    clock = ManualClock()
    with deferred_collection():
        collecting = GarbageCollector(clock)
        left = weakref.ref(Node())
        for _ in range(5_000):
            Node()
        assert left() is not None, "not in the middle of the work"
        clock.advance(YOUNG_MS - 1)
        collecting.turn()
        assert left() is not None
        clock.advance(1)
        collecting.turn()
        assert left() is None


def test_old_cycles_are_collected_too() -> None:
    clock = ManualClock()
    with deferred_collection():
        collecting = GarbageCollector(clock)
        node = Node()
        left = weakref.ref(node)
        for _ in range(3):
            clock.advance(YOUNG_MS)
            collecting.turn()
        del node
        clock.advance(YOUNG_MS)
        collecting.turn()
        clock.advance(ALL_MS)
        collecting.turn()
        assert left() is None


def test_its_settings_are_restored() -> None:
    before = gc.get_threshold()
    gc.unfreeze()  # of the other tests
    for frozen in (False, True):
        if frozen:
            gc.freeze()
        with deferred_collection():
            assert gc.get_threshold()[0] > before[0]
        assert gc.get_threshold() == before
        assert bool(gc.get_freeze_count()) == frozen, "what a program has frozen stays frozen, and nothing else"


def test_a_program_that_has_set_it_up_keeps_it() -> None:
    clock = ManualClock()
    gc.set_threshold(50_000, 5, 5)
    with deferred_collection():
        assert gc.get_threshold() == (50_000, 5, 5)
        gc.disable()
        left = weakref.ref(Node())
        clock.advance(ALL_MS)
        GarbageCollector(clock).turn()
        assert left() is not None
    assert gc.get_threshold() == (50_000, 5, 5)
