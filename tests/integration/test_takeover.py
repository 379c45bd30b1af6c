"""Takeover after a process dies, leaves, joins or restarts: tasks resume soon, and other tasks are not disturbed.

Session and transaction timeouts are so long that a test which had to wait for either would fail. `python -m
bench.failover` measures exact figures.
"""

from __future__ import annotations

import signal

import pytest

from tests.brokers import client

from .fleet import PARTITIONS, Fleet, generations, readied
from .stage import Stage
from .watch import Moment

pytestmark = [pytest.mark.without_changelogs, pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(240)]

AT_ONCE = 12.0
"""Seconds: much less than the timeouts of a session (30 s) and a transaction (60 s), much more than needed."""


def test_a_killed_process_is_taken_over_and_returns_without_waiting_for_timeouts(stage: Stage) -> None:
    """Killed with an open transaction, which blocks consumers of its output until it is ended."""
    with Fleet(stage, commit_interval="1s") as fleet:
        one, two = fleet.instance("one"), fleet.instance("two")
        first, second = fleet.start(one, two)
        killed = fleet.kill_in_transaction(second)
        client.wait_for(lambda: len(client.members(stage.broker, stage.app_id)) == 1, AT_ONCE, "the group to know")
        assert max(fleet.watch.wait_until_back(killed, 60)) < AT_ONCE
        again = two.start()
        fleet.wait_until_shared(2)
        assert len(readied(first)) == PARTITIONS + len(readied(second)), (
            "the survivor reopened tasks that it already had"
        )
        fleet.stop([first, again])
        fleet.judge()


def test_a_process_that_is_killed_and_restarted_does_not_wait_for_its_former_session(stage: Stage) -> None:
    with Fleet(stage, commit_interval="1s") as fleet:
        only = fleet.instance("only")
        [life] = fleet.start(only)
        killed = fleet.kill_in_transaction(life)
        assert life.exit() == -signal.SIGKILL
        again = only.start()
        assert max(fleet.watch.wait_until_back(killed, 60)) < AT_ONCE
        fleet.stop([again])
        fleet.judge()


def test_a_join_and_a_leave_do_not_stop_the_tasks_that_stay(stage: Stage) -> None:
    with Fleet(stage, commit_interval="1s") as fleet:
        first, second = fleet.start(fleet.instance("one"), fleet.instance("two"))
        opened = len(readied(first)), len(readied(second))
        began = Moment()
        third = fleet.instance("three").start()
        fleet.wait_until_shared(3)
        fleet.watch.wait_until_back(Moment(), 60)
        [moved] = readied(third)
        third.child.terminate()
        left = Moment()
        assert third.exit(30) == 0
        assert max(fleet.watch.wait_until_back(left, 60)) < AT_ONCE, "a clean leave hands over at once"
        fleet.wait_until_shared(2)
        fleet.watch.wait_until_back(Moment(), 60)
        assert [*readied(first)[opened[0] :], *readied(second)[opened[1] :]] == [moved], "other tasks were reopened"
        for number in set(range(PARTITIONS)) - {int(moved.removeprefix("0_"))}:
            assert fleet.watch.silence(number, began.monotonic) < 3.0, "more than about two commit intervals"
        fleet.stop([first, second])
        fleet.judge()


def test_a_static_member_that_restarts_moves_nothing(stage: Stage) -> None:
    with Fleet(stage) as fleet:
        two = fleet.instance("two", instance_id="two")
        first, second = fleet.start(fleet.instance("one", instance_id="one"), two)
        heard, opened = len(generations(first)), readied(first)
        second.kill()
        killed = Moment()
        again = two.start()
        assert max(fleet.watch.wait_until_back(killed, 60)) < AT_ONCE
        assert readied(first) == opened, "the other member has opened tasks"
        moves = [line for line in generations(first)[heard:] if "handed over" in line or "to open" in line]
        assert moves == [], "tasks of the other have moved"
        assert sorted(readied(again)) == sorted(set(readied(second))), "it did not get the same tasks again"
        fleet.stop([first, again])
        fleet.judge()
