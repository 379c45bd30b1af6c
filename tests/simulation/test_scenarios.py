"""Scenarios that rarely occur on a real Kafka, each simulated in several interleavings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.examples import seeds
from tidemill.engine.errors import CommitOutcomeUnknown, Retryable
from tidemill.engine.group.membership import Membership
from tidemill.engine.kafka.errors import TransactionAborted
from tidemill.engine.kafka.topics import Topics
from tidemill.engine.runtime.checkpoint import CommittedPositions
from tidemill.engine.runtime.streams_producer import StreamsProducer
from tidemill.engine.tasks.prepared_commit import PreparedCommit

from .driver import Violation
from .log import Marker
from .process import Process
from .scenario import Scenario, scenario

SEEDS = seeds(10, fast=3)
SOON = 500
"""In ms: the time for a rebalance without a timeout."""
ANSWER = 3000
"""In ms: how long a process waits for the response to a commit: its `transaction_timeout`."""
PATIENT = {"transaction_timeout": ANSWER, "rebalance_timeout": 1000, "session_timeout": 1000, "commit_hold": 100}


def pair(run: Scenario) -> tuple[Process, Process]:
    """Start two processes with one task each."""
    first, second = run.start_process(), run.start_process()
    run.until(lambda: len(first.tasks) == len(second.tasks) == 1, 2000, "each has a task")
    run.until_processed()
    return first, second


def in_changelogs(marker: Marker) -> bool:
    return marker.partition[0].endswith("-changelog")


def handed_over_before_its_markers_land(run: Scenario) -> None:
    """Complete a commit and its offsets while its markers have not reached the changelogs."""
    first = run.start_process()
    run.until_processed()
    run.broker.holds = in_changelogs
    for _ in range(30):
        run.feed()
    run.until(run.check.offsets_reached, 2000, "the first process has committed all")
    assert run.broker.held
    second = run.start_process()
    run.until(lambda: bool(second.membership.owned()), 2000, "the second process is given a task")
    run.run_for(3000)
    run.check_that(len(first.tasks) == 1 and not second.tasks, "the second process waits for the markers")
    run.broker.holds = lambda _marker: False
    for marker in run.broker.held:
        run.broker.land(marker)
    run.until(lambda: len(second.tasks) == 1, SOON, "the second process runs its task")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_task_is_restored_with_the_last_commit_even_if_its_markers_are_late(seed: int) -> None:
    with scenario(seed) as run:
        handed_over_before_its_markers_land(run)


def test_the_simulation_detects_a_restore_that_ends_at_the_last_stable_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Topics.ends
    monkeypatch.setattr(Topics, "ends", lambda self, keys, committed: ends(self, keys, committed=True))
    with pytest.raises(Violation, match=r"opened: seen\[k\d\] is \[\], should be"), scenario(1) as run:
        handed_over_before_its_markers_land(run)


def dead_in_mid_commit(run: Scenario) -> int:
    """Return the time to recover from a process that was killed between its offsets and its commit."""
    first, _second = pair(run)
    for _ in range(20):
        run.feed()
    run.run_to(first, "failpoint after-send-offsets")
    run.kill_and_remove(first)
    return run.until_processed()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_open_transaction_of_a_dead_process_is_ended_at_once(seed: int) -> None:
    with scenario(seed) as run:
        assert dead_in_mid_commit(run) < SOON


def test_the_simulation_detects_missing_fencing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(_self: object, chains: object) -> object:
        return chains

    monkeypatch.setattr(Membership, "_fence", forget)
    with scenario(1) as run:
        assert dead_in_mid_commit(run) > SOON


@pytest.mark.parametrize("seed", SEEDS)
def test_a_former_owner_is_fenced_even_if_its_successor_died_first(seed: int) -> None:
    with scenario(seed, partitions=1) as run:
        first = run.start_process()
        run.until_processed()
        others = [run.start_process(), run.start_process()]
        run.until_processed()
        run.until(lambda: all(one.member for one in others), SOON, "all are members")
        for _ in range(10):
            run.feed()
        run.run_to(first, "failpoint after-send-offsets")
        run.kill_and_remove(first)
        run.until(lambda: any(one.membership.owned() for one in others), SOON, "another process is given the task")
        [heir] = [one for one in others if one.membership.owned()]
        run.kill_and_remove(heir)
        assert run.until_processed() < SOON


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "place",
    ["failpoint before-produce", "send offsets ->", "failpoint after-send-offsets", "commit ->", "commit <-", "flush"],
)
def test_a_paused_process_blocks_no_other_and_does_no_harm_when_it_resumes(seed: int, place: str) -> None:
    with scenario(seed) as run:
        first, second = pair(run)
        for _ in range(20):
            run.feed()
        run.run_to(first, place)
        first.frozen = True
        run.remove(first.member)
        run.until(lambda: len(second.tasks) == 2 and run.check.drained(), SOON, "the other one has done its work")
        for _ in range(20):
            run.feed()
        run.run_for(20)
        first.frozen = False
        run.until(lambda: len(first.tasks) == 1, SOON, "it has a task again")
        assert run.until_processed() < SOON


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_with_only_a_timer_commits_nothing_after_losing_its_task(seed: int) -> None:
    """It is paused without an open transaction until the group has removed it, so there is nothing to fence."""
    with scenario(seed, program="ticking", partitions=1) as run:
        first = run.start_process()
        run.feed()
        run.until_processed()
        run.run_to(first, "commit <-")
        first.frozen = True
        run.remove(first.member)
        second = run.start_process()
        run.until(lambda: len(second.tasks) == 1, SOON, "another process has its task")
        run.run_to(second, "commit <-")
        first.frozen = False
        run.run_for(SOON)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_replaced_process_ends_the_transaction_that_it_began_unaware(seed: int) -> None:
    """The only member is removed while it has no open transaction, so there is nothing to fence."""
    with scenario(seed, settings={"commit_interval": 1000}) as run:
        first = run.start_process()
        run.until_processed()
        first.frozen = True
        run.remove(first.member)
        for _ in range(20):
            run.feed()
        second = run.start_process()
        run.until(lambda: len(second.tasks) == 2, SOON, "another process has its tasks")
        first.frozen = False
        run.until(lambda: first.membership.status.epoch == 2, SOON, "it knows")
        run.run_for(SOON)
        left = [one.name for one in run.broker.transactions.open() if one.name.endswith(f"{1:032x}.1")]
        run.check_that(not left, "the first process has ended what it wrote")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("while_it", ["joins", "is idle", "works"])
def test_a_process_ends_when_kafka_is_unavailable_for_longer_than_the_retry_timeout(seed: int, while_it: str) -> None:
    away = 0
    ends = pytest.raises(
        Violation, match=r"ended with Retryable.*Kafka has not answered for . s, longer than retry_time"
    )
    with ends, scenario(seed, settings={"retry_timeout": 3_000}) as run:
        run.start_process()
        if while_it != "joins":
            run.until_processed()
        for _ in range(20 if while_it == "works" else 0):
            run.feed()
        run.broker.network.down = True
        began = run.world.now
        while (away := run.world.now - began) < 12_000:
            run.turn()
    assert 3_000 < away < 8_000


def committed_without_an_answer(run: Scenario) -> None:
    """Complete a commit at the coordinator without a response to the process."""
    first = run.start_process()
    run.until_processed()
    for _ in range(20):
        run.feed()
    run.run_to(first, "commit <-")
    run.broker.cut_off.add(first.name)
    run.run_for(ANSWER + SOON)
    run.broker.cut_off.clear()
    run.until_processed(within=ANSWER + 2000)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_commit_without_a_response_is_not_repeated(seed: int) -> None:
    with scenario(seed, settings=PATIENT) as run:
        committed_without_an_answer(run)


def test_the_simulation_detects_an_unknown_outcome_treated_as_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    """The abort itself would fail, so this failure is ignored as well."""
    commit, abort = StreamsProducer.commit, StreamsProducer.abort

    def guessing(self: StreamsProducer, prepared: Sequence[PreparedCommit]) -> CommittedPositions:
        try:
            return commit(self, prepared)
        except CommitOutcomeUnknown as failure:
            raise TransactionAborted(str(failure)) from failure

    def overlooking(self: StreamsProducer) -> bool:
        try:
            return abort(self)
        except Retryable:
            self.discard(abort=False)
            return True

    monkeypatch.setattr(StreamsProducer, "commit", guessing)
    monkeypatch.setattr(StreamsProducer, "abort", overlooking)
    with pytest.raises(Violation), scenario(1, settings=PATIENT) as run:
        committed_without_an_answer(run)


def removed_in_mid_commit(run: Scenario) -> Process:
    """Remove a process between two heartbeats, so that it learns of it from its own commit."""
    first = run.start_process()
    run.until_processed()
    for _ in range(10):
        run.feed()
    run.run_to(first, "send offsets ->")
    run.remove(first.member)
    return first


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_that_the_group_has_removed_rejoins(seed: int) -> None:
    with scenario(seed) as run:
        first = removed_in_mid_commit(run)
        run.until(lambda: len(first.tasks) == 2 and run.check.drained(), SOON, "it has its tasks again")
        run.check_that(first.membership.status.epoch == 2, "it joined once")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_at_the_time_of_a_lost_membership_is_clean(seed: int) -> None:
    with scenario(seed) as run:
        first = removed_in_mid_commit(run)
        first.stop()
        run.until(lambda: not run.processes, SOON, "it ends")
        run.check_that(first.exit == "clean", f"it ends with exit code 0, not with {first.exit!r}")
