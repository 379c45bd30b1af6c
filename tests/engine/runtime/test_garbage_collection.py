"""The cyclic garbage collector runs between commits, finds what there is, and is given back as it was."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.runtime.garbage_collection import ALL_MS, YOUNG_MS, Collecting, collected_rarely


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


def test_cycles_go_after_a_commit_now_and_then() -> None:
    clock = ManualClock()
    with collected_rarely():
        collecting = Collecting(clock)
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


def test_old_cycles_go_too() -> None:
    clock = ManualClock()
    with collected_rarely():
        collecting = Collecting(clock)
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


def test_it_is_given_back_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with collected_rarely():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == frozen


def test_a_program_that_has_set_it_up_keeps_it() -> None:
    clock = ManualClock()
    gc.set_threshold(50_000, 5, 5)
    with collected_rarely():
        assert gc.get_threshold() == (50_000, 5, 5)
        gc.disable()
        left = weakref.ref(Node())
        clock.advance(ALL_MS)
        Collecting(clock).turn()
        assert left() is not None
    assert gc.get_threshold() == (50_000, 5, 5)
