"""Members with an instance id: a restart without a rebalance, rivals, and what nobody expects."""

from __future__ import annotations

import pytest

from tidemill.engine.group import leader

from .driver import QUIET_MS, Violation
from .stage import Stage, stage

SEEDS = range(5)


def rival(play: Stage, instance: str = "instance-0") -> None:
    """A JoinGroup of another process with the same instance id, of which nothing more is heard."""
    play.broker.group.join("", instance, 10_000, 3_000, b"", lambda *_answer: None)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_static_member_that_was_restarted_has_its_tasks_at_once_and_is_never_taken_for_dead(seed: int) -> None:
    with stage(seed, static=True, settings={"commit_interval": 200}) as play:
        first, second = play.new(), play.new()
        play.until(lambda: len(first.tasks) == len(second.tasks) == 1, 2000, "each has a task")
        play.kill(second)
        play.go_on(200)
        again = play.new(second.disk)
        play.until(lambda: len(again.tasks) == 1, 1000, "it has its task again")
        end = play.world.now + QUIET_MS
        while play.world.now < end:  # the leader looks for forgotten transactions while one is open
            play.feed()
            play.go_on(100)
        play.check_that(again.membership.status.epoch == first.membership.status.epoch == 1, "nobody was fenced")
        described = {one.instance: one.described for one in play.broker.group.members.values()}
        play.check_that(len(described) == 2, "each has its place")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_late_request_of_its_predecessor_does_not_throw_a_process_out(seed: int) -> None:
    with stage(seed, static=True) as play:
        first = play.new()
        play.settled()
        play.feed()
        rival(play)
        play.until(lambda: first.membership.status.epoch == 2 and len(first.tasks) == 2, 5000, "it has its place again")
        play.check_that(len(play.broker.group.members) == 1, "the late one has no place")


def taken_after(play: Stage, quiet_ms: int) -> None:
    """Another process takes the place so long after the start."""
    play.new()
    play.settled()
    play.go_on(quiet_ms)
    rival(play)
    play.go_on(1000)


def taken_twice(play: Stage) -> None:
    first = play.new()
    play.settled()
    rival(play)
    play.until(lambda: first.membership.status.epoch == 2, 5000, "it has its place again")
    play.settled()
    rival(play)
    play.go_on(1000)


TAKEN = r"ended with Fatal.*another process has taken over the instance id"


def test_of_two_processes_with_one_instance_id_the_former_ends_and_says_why() -> None:
    with pytest.raises(Violation, match=TAKEN), stage(1, static=True) as play:
        taken_after(play, 35_000)


def test_of_two_processes_that_both_just_started_one_ends() -> None:
    with pytest.raises(Violation, match=TAKEN), stage(1, static=True) as play:
        taken_twice(play)


def meets_an_odd_error(play: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object) -> None:
        raise ValueError("odd")

    play.new()
    play.settled()
    monkeypatch.setattr(leader, "assign", odd)
    play.new()
    play.go_on(2000)


def test_an_unexpected_error_of_the_membership_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Violation, match=r"ended with ValueError.'odd'"), stage(1) as play:
        meets_an_odd_error(play, monkeypatch)
