"""Partitions that have records and deliver none are found; those that have none, or are paused on purpose, are not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.clock import ManualClock
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.runtime.intake import Intake
from tidemill.engine.runtime.stalled_partitions import AGAIN_MS, SILENT_MS, Reading, Stalls
from tidemill.engine.tasks.task import Task

A, B = ("a", 0), ("b", 3)


def looks(stalls: Stalls, reading: Reading, seconds: int, begin: int = 0) -> dict[tuple[str, int], str]:
    """What is found within so many seconds."""
    found: dict[tuple[str, int], str] = {}
    for second in range(seconds + 1):
        found = found or stalls.look({A: reading}, begin + second * 1000)
    return found


def test_a_silent_partition_with_records_is_found_after_a_minute() -> None:
    unread = Reading(5, 12, waits=False)
    assert not looks(Stalls(), unread, SILENT_MS // 1000 - 1)
    found = looks(Stalls(), unread, SILENT_MS // 1000)
    assert found == {A: "topic 'a', partition 0: nothing came for 60 s at offset 5, though 7 records are unread"}
    assert "though its end is not known" in looks(Stalls(), Reading(5, -1001, waits=False), 60)[A]


def test_a_partition_without_records_is_not() -> None:
    assert not looks(Stalls(), Reading(12, 12, waits=False), 600)
    assert not looks(Stalls(), Reading(5, 12, waits=True), 600)
    stalls = Stalls()
    stalls.ended({A: 12})  # offsets 5 to 11 are markers and aborted records
    assert not looks(stalls, Reading(5, 12, waits=False), 600)


def test_what_comes_begins_the_minute_again() -> None:
    stalls, unread = Stalls(), Reading(5, 12, waits=False)
    for begin in range(0, 500_000, 51_000):
        assert not looks(stalls, unread, 50, begin)
        stalls.heard(*A)
    assert not looks(stalls, unread, 50, 600_000)
    stalls.ended({A: 4})
    assert not looks(stalls, unread, 50, 660_000)
    stalls.forget([A])
    assert not looks(stalls, unread, 50, 720_000)


def test_a_partition_that_was_read_again_in_vain_is_given_up_until_something_comes() -> None:
    stalls, unread = Stalls(), Reading(5, 12, waits=False)
    assert not stalls.given_up(looks(stalls, unread, 60))
    stalls.forget([A])
    stalls.read_again([A])
    found = looks(stalls, unread, AGAIN_MS // 1000, 61_000)
    assert "nothing came for 30 s" in found[A]
    assert stalls.given_up(found)
    stalls.heard(*A)
    assert not looks(stalls, unread, 50, 120_000)
    assert not stalls.given_up([A])


def test_a_process_that_stood_still_heard_nothing_and_blames_nobody() -> None:
    stalls, unread = Stalls(), Reading(5, 12, waits=False)
    stalls.look({A: unread}, 0)
    assert not stalls.look({A: unread}, 3_600_000)


@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans(), st.integers(-1, 9), st.integers(0, 9)), max_size=200))
def test_nobody_is_blamed_who_was_heard_or_has_nothing_within_a_minute(
    steps: list[tuple[int, bool, int, int]],
) -> None:
    stalls, now, since = Stalls(), 0, 0
    for passed, heard, end, position in steps:
        now += passed
        if heard:
            stalls.heard(*B)
        if heard or 0 <= end <= position:
            since = now
        if stalls.look({B: Reading(position, end, waits=False)}, now):
            assert now - since >= SILENT_MS - 5000


class Silent:
    """A client that delivers nothing of its one partition, and notes what it is told."""

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
