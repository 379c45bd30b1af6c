"""Tests of stalled input partitions: they are assigned again, and then read with a new client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from tidemill.engine.clock import ManualClock
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.runtime.intake import Intake
from tidemill.engine.tasks.task import Task

A = ("a", 0)


class Silent:
    """A client that delivers nothing of its only partition, and records the calls."""

    def __init__(self) -> None:
        self.paused: frozenset[tuple[str, int]] = frozenset()
        self.told: list[tuple[str, dict[tuple[str, int], int]]] = []

    def end(self, _key: tuple[str, int]) -> int:
        return -1

    def assign(self, _offsets: object) -> None: ...

    def rewind(self, offsets: dict[tuple[str, int], int]) -> None:
        self.told.append(("rewind", offsets))

    def replace(self, offsets: dict[tuple[str, int], int]) -> None:
        self.told.append(("replace", offsets))


def test_a_silent_partition_is_read_again_and_then_by_a_new_client() -> None:
    client, task = Silent(), SimpleNamespace(inputs=(A,), positions=lambda: {A: 5}, buffered=lambda: {A: 0})
    intake = Intake(cast("InputConsumer", client), 1, ManualClock(0))
    intake.begin(cast("Task", task))
    when: list[int] = []
    for second in range(150):
        intake.restart_stalled(second * 1000)
        when += [second] * (len(client.told) - len(when))
    assert client.told == [("rewind", {A: 5}), ("replace", {A: 5}), ("replace", {A: 5})]
    assert when == [60, 90, 120]
