"""Tests of records that cannot be decoded yet: they are held in order, and passed on later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

import tidemill as tm
from tidemill.engine.clock import ManualClock
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.runtime.intake import Intake
from tidemill.engine.tasks.task import Task
from tidemill.operators.record import Batch

A, B = ("a", 0), ("b", 0)


def batch(topic: str, first: int, count: int = 2) -> Batch:
    offsets = list(range(first, first + count))
    return Batch(topic, 0, [None] * count, [b"v"] * count, [0] * count, offsets, None, 100)


class Client:
    """A client that delivers what it is given."""

    def __init__(self) -> None:
        self.paused: frozenset[tuple[str, int]] = frozenset()
        self.polled: list[tuple[list[Batch], dict[tuple[str, int], int]]] = []

    def poll(self, _limit: int, _timeout: float) -> Any:
        batches, ends = self.polled.pop(0) if self.polled else ([], {})
        return SimpleNamespace(batches=batches, ends=ends)

    def assign(self, _offsets: object) -> None: ...

    def rewind(self, _offsets: object) -> None: ...

    def pause(self, keys: Any) -> None:
        self.paused |= set(keys)

    def resume(self, keys: Any) -> None:
        self.paused -= set(keys)


class Reader:
    """A task that cannot decode one topic for now."""

    inputs = (A, B)

    def __init__(self) -> None:
        self.refused = {"a"}
        self.offered: list[tuple[str, list[int]]] = []
        self.ended: list[tuple[tuple[str, int], int]] = []
        self.awaited: set[tuple[str, int]] = set()

    def positions(self) -> dict[tuple[str, int], int]:
        return {A: 0, B: 0}

    def buffered(self) -> dict[tuple[str, int], int]:
        return {A: 0, B: 0}

    def offer(self, batch: Batch, _now: int) -> None:
        if batch.topic in self.refused:
            raise tm.Retryable("the schema is not there")
        self.offered.append((batch.topic, batch.offsets))

    def caught_up(self, key: tuple[str, int], _yes: bool, end: int) -> None:
        self.ended.append((key, end))

    def await_input(self, key: tuple[str, int], yes: bool) -> None:
        (self.awaited.add if yes else self.awaited.discard)(key)


class Held:
    def __init__(self) -> None:
        self.client, self.task, self.clock = Client(), Reader(), ManualClock(0)
        self.intake = Intake(cast("InputConsumer", self.client), 1_000, self.clock, "ignore")
        self.intake.begin(cast("Task", self.task))

    def receive(self, *batches: Batch, ends: dict[tuple[str, int], int] | None = None) -> None:
        self.client.polled.append((list(batches), ends or {}))
        self.intake.receive(100, 0)
        self.clock.advance(300)


@pytest.fixture
def held() -> Held:
    made = Held()
    made.clock.advance(1_000)
    return made


def test_held_records_keep_their_order_and_do_not_block_others(held: Held) -> None:
    held.receive(batch("a", 0), batch("b", 0))
    held.receive(batch("a", 2), batch("b", 2), ends={A: 4, B: 4})
    assert held.task.offered == [("b", [0, 1]), ("b", [2, 3])]
    assert held.task.awaited == {A}
    assert held.task.ended == [(B, 4)]
    assert held.intake.held == 1
    held.task.refused.clear()
    held.receive(batch("a", 4))
    assert held.task.offered[2:] == [("a", [0, 1]), ("a", [2, 3]), ("a", [4, 5])]
    assert held.task.ended[1:] == [(A, 4)]
    assert not held.task.awaited
    assert held.intake.held == 0


def test_held_records_count_for_flow_control(held: Held) -> None:
    for first in range(0, 20, 2):
        held.receive(batch("a", first))
    held.intake.apply_flow_control()
    assert held.client.paused == {A}
    held.task.refused.clear()
    held.receive()
    held.intake.apply_flow_control()
    assert not held.client.paused


def test_a_rewind_drops_held_records(held: Held) -> None:
    held.receive(batch("a", 0))
    held.intake.rewind({A: 0})
    held.task.refused.clear()
    held.receive(batch("a", 0))
    assert held.task.offered == [("a", [0, 1])]


def test_no_record_overtakes_held_records_even_if_it_can_be_decoded(held: Held) -> None:
    """Between two attempts the schema has come, and with it more records."""
    held.receive(batch("a", 0))
    held.client.polled.append(([batch("a", 2)], {A: 4}))
    held.intake.receive(100, 0)  # another attempt, which fails
    held.task.refused.clear()
    held.client.polled.append(([batch("a", 4)], {}))
    held.intake.receive(100, 0)  # too early for the next one
    assert held.task.offered == []
    held.clock.advance(300)
    held.receive()
    assert held.task.offered == [("a", [0, 1]), ("a", [2, 3]), ("a", [4, 5])]
