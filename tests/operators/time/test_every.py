"""Tests of `tm.every`, a value that is used as a decorator of methods and as an argument."""

from __future__ import annotations

import pytest

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.operators.time.every import scheduled


def test_it_is_a_value() -> None:
    assert tm.every("5s") == tm.every(5_000) == tm.Every(5_000, "stream")
    assert tm.every("5s", clock="wall") != tm.every("5s")
    assert str(tm.every("5s", clock="wall")) == "every 5s of wall-clock time"


@pytest.mark.parametrize("interval", ["", "5", 0, -1, 1.5, None])
def test_what_is_no_interval_is_refused(interval: object) -> None:
    with pytest.raises(tm.TopologyError, match=r"tm\.every\(\)"):
        tm.every(untyped(interval))


def test_what_is_no_clock_is_refused() -> None:
    with pytest.raises(tm.TopologyError, match="'stream' or 'wall', not 'event'"):
        tm.every("5s", clock=untyped("event"))


def test_it_marks_methods_and_leaves_them_as_they_are() -> None:
    class Parent:
        @tm.every("5s")
        def first(self) -> str:
            return "first"

        @tm.every("6s")
        def second(self) -> str:
            return "second"

    class Child(Parent):
        def second(self) -> str:
            return "called by nobody"

        @tm.every("7s", clock="wall")
        def third(self) -> str:
            return "third"

    assert Child().first() == "first"
    assert scheduled(Parent) == {"first": tm.every("5s"), "second": tm.every("6s")}
    assert scheduled(Child) == {"first": tm.every("5s"), "third": tm.every("7s", clock="wall")}


def test_a_method_has_one() -> None:
    def method() -> None: ...

    with pytest.raises(tm.TopologyError, match="called every 6s of stream time already"):
        tm.every("5s")(tm.every("6s")(method))
    with pytest.raises(tm.TopologyError, match=r"decorates a method of a processor, not 'tick'"):
        tm.every("5s")(untyped("tick"))
