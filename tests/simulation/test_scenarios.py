"""Moments that a real Kafka shows now and then, made to happen: each in several orders of everything around it."""

from __future__ import annotations

import pytest

from tidemill.engine.group.membership import Membership
from tidemill.engine.kafka.topics import Topics

from .driver import Violation
from .log import Marker
from .process import Process
from .stage import Stage, stage

SEEDS = range(10)
SOON = 500
"""In ms: what needs a rebalance and no time-out."""


def pair(play: Stage) -> tuple[Process, Process]:
    """Two processes with a task each."""
    first, second = play.new(), play.new()
    play.until(lambda: len(first.tasks) == len(second.tasks) == 1, 2000, "each has a task")
    play.settled()
    return first, second


def in_changelogs(marker: Marker) -> bool:
    return marker.partition[0].endswith("-changelog")


def handed_over_before_its_markers_land(play: Stage) -> None:
    """A commit has returned and its offsets are settled, while the changelogs do not know yet that it is one."""
    first = play.new()
    play.settled()
    play.broker.holds = in_changelogs
    for _ in range(30):
        play.feed()
    play.until(play.check.offsets_reached, 2000, "the first process has committed all")
    assert play.broker.held
    second = play.new()
    play.until(lambda: bool(second.membership.owned()), 2000, "the second process is given a task")
    play.go_on(3000)
    play.check_that(len(first.tasks) == 1 and not second.tasks, "the second process waits for the markers")
    play.broker.holds = lambda _marker: False
    for marker in play.broker.held:
        play.broker.land(marker)
    play.until(lambda: len(second.tasks) == 1, SOON, "the second process runs its task")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_task_is_restored_with_the_last_commit_though_its_markers_are_late(seed: int) -> None:
    with stage(seed) as play:
        handed_over_before_its_markers_land(play)


def test_that_is_noticed_when_a_restore_ends_at_the_last_stable_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Topics.ends
    monkeypatch.setattr(Topics, "ends", lambda self, keys, committed: ends(self, keys, committed=True))
    with pytest.raises(Violation, match=r"opened: seen\[k\d\] is \[\], should be"), stage(1) as play:
        handed_over_before_its_markers_land(play)


def dead_in_mid_commit(play: Stage) -> int:
    """How long it takes to go on after a process was killed between its offsets and its commit."""
    first, _second = pair(play)
    for _ in range(20):
        play.feed()
    play.at(first, "failpoint after-send-offsets")
    play.dies(first)
    return play.settled()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_dead_process_left_open_is_ended_at_once(seed: int) -> None:
    with stage(seed) as play:
        assert dead_in_mid_commit(play) < SOON


def test_that_is_noticed_when_nobody_is_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(_self: object, chains: object) -> object:
        return chains

    monkeypatch.setattr(Membership, "_fence", forget)
    with stage(1) as play:
        assert dead_in_mid_commit(play) > SOON


@pytest.mark.parametrize("seed", SEEDS)
def test_a_former_owner_is_fenced_though_its_successor_died_before_it_could(seed: int) -> None:
    with stage(seed, partitions=1) as play:
        first = play.new()
        play.settled()
        others = [play.new(), play.new()]
        play.settled()
        play.until(lambda: all(one.member for one in others), SOON, "all are members")
        for _ in range(10):
            play.feed()
        play.at(first, "failpoint after-send-offsets")
        play.dies(first)
        play.until(lambda: any(one.membership.owned() for one in others), SOON, "another process is given the task")
        [heir] = [one for one in others if one.membership.owned()]
        play.dies(heir)
        assert play.settled() < SOON


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "place",
    ["failpoint before-produce", "send offsets ->", "failpoint after-send-offsets", "commit ->", "commit <-", "flush"],
)
def test_a_process_that_stands_still_holds_up_nobody_and_does_no_harm_when_it_goes_on(seed: int, place: str) -> None:
    with stage(seed) as play:
        first, second = pair(play)
        for _ in range(20):
            play.feed()
        play.at(first, place)
        first.frozen = True
        play.remove(first.member)
        play.until(lambda: len(second.tasks) == 2 and play.check.drained(), SOON, "the other one has done its work")
        for _ in range(20):
            play.feed()
        play.go_on(20)
        first.frozen = False
        play.until(lambda: len(first.tasks) == 1, SOON, "it has a task again")
        assert play.settled() < SOON


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_whose_only_work_is_a_timer_commits_nothing_once_it_has_lost_its_task(seed: int) -> None:
    """It stands still with no transaction open until the group has forgotten it, so nobody has anything to fence."""
    with stage(seed, program="ticking", partitions=1) as play:
        first = play.new()
        play.feed()
        play.settled()
        play.at(first, "commit <-")
        first.frozen = True
        play.remove(first.member)
        second = play.new()
        play.until(lambda: len(second.tasks) == 1, SOON, "another process has its task")
        play.at(second, "commit <-")
        first.frozen = False
        play.go_on(SOON)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_that_was_replaced_ends_what_it_wrote_before_it_knew(seed: int) -> None:
    """The only member is taken for dead while it has nothing open, so that nobody has anything to fence."""
    with stage(seed, settings={"commit_interval": 1000}) as play:
        first = play.new()
        play.settled()
        first.frozen = True
        play.remove(first.member)
        for _ in range(20):
            play.feed()
        second = play.new()
        play.until(lambda: len(second.tasks) == 2, SOON, "another process has its tasks")
        first.frozen = False
        play.until(lambda: first.membership.status.epoch == 2, SOON, "it knows")
        play.go_on(SOON)
        left = [one.name for one in play.broker.transactions.open() if one.name.endswith(f"{1:032x}.1")]
        play.check_that(not left, "the first process has ended what it wrote")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("while_it", ["joins", "is idle", "works"])
def test_a_process_ends_when_kafka_is_away_for_longer_than_it_may(seed: int, while_it: str) -> None:
    away = 0
    ends = pytest.raises(
        Violation, match=r"ended with Retryable.*Kafka has not answered for . s, longer than retry_time"
    )
    with ends, stage(seed, settings={"retry_timeout": 3_000}) as play:
        play.new()
        if while_it != "joins":
            play.settled()
        for _ in range(20 if while_it == "works" else 0):
            play.feed()
        play.broker.network.down = True
        began = play.world.now
        while (away := play.world.now - began) < 12_000:
            play.turn()
    assert 3_000 < away < 8_000


def removed_in_mid_commit(play: Stage) -> Process:
    """A process that the group has taken out between two heartbeats, and that hears of it by its own commit."""
    first = play.new()
    play.settled()
    for _ in range(10):
        play.feed()
    play.at(first, "send offsets ->")
    play.remove(first.member)
    return first


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_that_the_group_has_removed_joins_again(seed: int) -> None:
    with stage(seed) as play:
        first = removed_in_mid_commit(play)
        play.until(lambda: len(first.tasks) == 2 and play.check.drained(), SOON, "it has its tasks again")
        play.check_that(first.membership.status.epoch == 2, "it joined once")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_in_the_moment_of_a_loss_is_a_clean_one(seed: int) -> None:
    with stage(seed) as play:
        first = removed_in_mid_commit(play)
        first.stop()
        play.until(lambda: not play.processes, SOON, "it ends")
        play.check_that(first.exit == "clean", f"it ends with exit code 0, not with {first.exit!r}")
