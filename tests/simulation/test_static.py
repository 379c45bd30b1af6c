"""Simulation of static members: restart without a rebalance, duplicate instance ids, unexpected errors."""

from __future__ import annotations

import pytest

from tests.support.examples import seeds
from tidemill.engine.group import leader

from .driver import QUIET_MS, Violation
from .scenario import Scenario, scenario

SEEDS = seeds(5, fast=2)


def rival(run: Scenario, instance: str = "instance-0") -> None:
    """Send a JoinGroup of another process with the same instance id, and nothing after it."""
    run.broker.group.join("", instance, 10_000, 3_000, b"", lambda *_answer: None)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_static_member_has_its_tasks_at_once_and_is_not_removed(seed: int) -> None:
    with scenario(seed, static=True, settings={"commit_interval": 200}) as run:
        first, second = run.start_process(), run.start_process()
        run.until(lambda: len(first.tasks) == len(second.tasks) == 1, 2000, "each has a task")
        run.kill(second)
        run.run_for(200)
        again = run.start_process(second.disk)
        run.until(lambda: len(again.tasks) == 1, 1000, "it has its task again")
        end = run.world.now + QUIET_MS
        while run.world.now < end:  # the leader looks for orphaned transactions while one is open
            run.feed()
            run.run_for(100)
        run.check_that(again.membership.status.epoch == first.membership.status.epoch == 1, "no process was fenced")
        described = {one.instance: one.described for one in run.broker.group.members.values()}
        run.check_that(len(described) == 2, "each has its place")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_late_request_of_its_predecessor_does_not_remove_a_process(seed: int) -> None:
    with scenario(seed, static=True) as run:
        first = run.start_process()
        run.until_processed()
        run.feed()
        rival(run)
        run.until(lambda: first.membership.status.epoch == 2 and len(first.tasks) == 2, 5000, "it has its place again")
        run.check_that(len(run.broker.group.members) == 1, "the late one has no place")


def taken_after(run: Scenario, quiet_ms: int) -> None:
    """Start another process with the same instance id this long after the start."""
    run.start_process()
    run.until_processed()
    run.run_for(quiet_ms)
    rival(run)
    run.run_for(1000)


def taken_twice(run: Scenario) -> None:
    first = run.start_process()
    run.until_processed()
    rival(run)
    run.until(lambda: first.membership.status.epoch == 2, 5000, "it has its place again")
    run.until_processed()
    rival(run)
    run.run_for(1000)


TAKEN = r"ended with Fatal.*another process has taken over the instance id"


def test_of_two_processes_with_one_instance_id_the_former_ends_with_the_reason() -> None:
    with pytest.raises(Violation, match=TAKEN), scenario(1, static=True) as run:
        taken_after(run, 35_000)


def test_of_two_processes_that_both_just_started_one_ends() -> None:
    with pytest.raises(Violation, match=TAKEN), scenario(1, static=True) as run:
        taken_twice(run)


def meets_an_odd_error(run: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object) -> None:
        raise ValueError("odd")

    run.start_process()
    run.until_processed()
    monkeypatch.setattr(leader, "assign", odd)
    run.start_process()
    run.run_for(2000)


def test_an_unexpected_error_of_the_membership_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Violation, match=r"ended with ValueError.'odd'"), scenario(1) as run:
        meets_an_odd_error(run, monkeypatch)
