"""Several memberships with a real group coordinator: join, assignment, hand-over, leave, and death."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from tests.brokers.client import members, wait_for
from tests.brokers.kafka import Kafka
from tests.brokers.process import spawn
from tests.integration.crew import Crew
from tests.support.patience import PATIENCE
from tidemill.engine.assignment.assignment import AssignmentPolicy
from tidemill.engine.errors import ConfigError, Fatal, Fenced, Retryable
from tidemill.engine.group.membership import Former, Membership, SubTopologyInfo
from tidemill.engine.group.removal import remove_members
from tidemill.engine.ids import TaskId


@pytest.fixture
def crew(kafka: Kafka, app_id: str) -> Iterator[Crew]:
    crew = Crew(kafka.bootstrap, app_id)
    yield crew
    crew.close()


def test_members_share_the_tasks_and_tasks_that_stay_are_not_interrupted(crew: Crew) -> None:
    first = crew.add()
    crew.settle()
    assert len(first.running) == 8
    second, third = crew.add(), crew.add()
    crew.settle()
    assert sorted(len(hand.running) for hand in crew.hands) == [2, 3, 3]
    kept = first.running - first.closed
    assert kept == first.running, "a task that stays was closed"
    assert len(first.closed) == 8 - len(first.running)
    assert not second.closed - first.closed or not third.closed


def test_the_second_phase_of_a_handover_does_not_wait_for_a_heartbeat(crew: Crew) -> None:
    """Heartbeats are sent every 9 s; while releases are pending, every 0.1 s."""
    first = crew.add(heartbeat_interval=9_000)
    crew.settle()
    first.size = 0  # a task with small state moves without a warm-up
    first.membership.report(sizes=dict.fromkeys(first.running, 0))
    second = crew.add(heartbeat_interval=9_000)
    crew.until(lambda: bool(first.closed), 15, "tasks to be released")
    assert crew.until(lambda: bool(second.tasks), 5, "it to be handed over") < PATIENCE


def test_a_task_moves_once_its_copy_has_caught_up(crew: Crew) -> None:
    first = crew.add()
    crew.settle()
    second = crew.add()
    second.lag = 1_000_000
    crew.until(lambda: bool(second.plans and second.plans[-1].plan.warming), 10, "copies to warm up")
    crew.work(2.5)
    assert len(first.running) == 8, "tasks left their owner before their copies had caught up"
    second.lag = 0
    second.membership.report(lags=dict.fromkeys(second.plans[-1].plan.standby, 0))
    assert crew.settle() < 3.0 * PATIENCE


def test_a_clean_leave_hands_over_at_once(crew: Crew) -> None:
    """Without waiting for a heartbeat of the others: they are notified on their connection to the leaving member."""
    one = crew.add(heartbeat_interval=9_000)
    crew.settle()
    two = crew.add(heartbeat_interval=9_000)
    crew.settle()
    left = two.process
    began = time.monotonic()
    crew.leave(two)
    crew.settle()
    assert time.monotonic() - began < 1.0 * PATIENCE
    assert len(one.running) == 8
    assert left in one.fenced


def test_a_dead_process_is_detected_without_waiting_for_its_session_timeout(crew: Crew) -> None:
    hands = [crew.add(heartbeat_interval=9_000) for _ in range(3)]
    crew.settle(20)
    dead = hands.pop()
    began = time.monotonic()
    crew.drop(dead)
    crew.settle()
    assert time.monotonic() - began < 1.5 * PATIENCE
    assert all(not hand.losses for hand in hands)
    assert dead.process in hands[0].fenced | hands[1].fenced


@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_a_killed_process_is_detected_by_its_peers(crew: Crew, tmp_path: Path, number: signal.Signals) -> None:
    """A separate process, killed by a signal; its session timeout is half a minute."""
    program = Path(__file__).with_name("programs") / "member.py"
    child = spawn([sys.executable, str(program), crew.bootstrap, crew.group], log=tmp_path / "member.log")
    one = crew.add(heartbeat_interval=9_000)
    crew.until(lambda: len(one.running) == 4 and not one.plans[-1].plan.pending, 20, "the two to share the tasks")
    crew.work(1)
    began = time.monotonic()
    child.send_signal(number)
    crew.until(lambda: len(one.running) == 8, 10, "the survivor to have all tasks")
    assert time.monotonic() - began < 1.0 * PATIENCE


def test_a_paused_process_is_not_considered_dead(crew: Crew, tmp_path: Path) -> None:
    """Its kernel still acknowledges packets: only the session timeout, here 3 s, may remove it."""
    program = Path(__file__).with_name("programs") / "member.py"
    argv = [sys.executable, str(program), crew.bootstrap, crew.group, "3000"]
    child = spawn(argv, log=tmp_path / "member.log")
    one = crew.add()
    crew.until(lambda: len(one.running) == 4 and not one.plans[-1].plan.pending, 20, "the two to share the tasks")
    began = time.monotonic()
    child.pause()
    crew.work(2)
    assert len(one.running) == 4, "a process that was only paused was removed from the group"
    crew.until(lambda: len(one.running) == 8, 10, "its session to end")
    assert 2.5 < time.monotonic() - began < 5.5 * PATIENCE
    child.resume()
    crew.until(lambda: len(one.running) == 4, 15, "it to come back")
    assert "lost" in (tmp_path / "member.log").read_text()
    child.kill()


def test_many_survivors_may_remove_the_same_dead_member(crew: Crew) -> None:
    hands = [crew.add() for _ in range(4)]
    crew.settle(20)
    dead = hands.pop()
    member = dead.membership.status.member_id
    crew.drop(dead)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: hands[n % 3].membership.remove(member), range(6)))
    assert sum(answers) <= 1
    crew.settle()
    assert all(not hand.losses for hand in hands)


def test_a_supervisor_removes_a_dead_worker_from_outside(crew: Crew) -> None:
    hands = [crew.add(watch_peers=False) for _ in range(2)]
    crew.settle()
    dead = hands.pop()
    member = dead.membership.status.member_id
    crew.drop(dead)
    options = {"bootstrap.servers": crew.bootstrap}
    assert remove_members(options, crew.group, [(member, None), ("nobody", None)]) == [(member, None)]
    assert remove_members(options, crew.group, [(member, None)]) == []
    crew.until(lambda: len(hands[0].running) == 8, 5, "the other to take over")
    with pytest.raises(Retryable, match="in time"):
        remove_members({"bootstrap.servers": "127.0.0.1:1"}, crew.group, [(member, None)], 0.5)


def test_a_change_of_load_leads_to_a_new_assignment(crew: Crew) -> None:
    one = crew.add(review_interval=1_000)
    two = crew.add()
    crew.settle()
    one.size = two.size = 0
    heavy = min(one.running)
    two.membership.report(weights=dict.fromkeys(two.running, 1), sizes=dict.fromkeys(two.running, 0))
    crew.work(1.2)
    weights = {task: 100 if task == heavy else 1 for task in one.running}
    one.membership.report(weights=weights, sizes=dict.fromkeys(weights, 0))
    crew.until(lambda: one.running == {heavy}, 10, "the light tasks to go to the other")


def test_a_live_member_that_is_removed_rejoins_with_a_new_epoch(crew: Crew) -> None:
    """Costly, but harmless: the open transactions of its old epoch are fenced, those of the new one never are."""
    one, two = crew.add(), crew.add()
    crew.settle()
    old = two.process
    assert one.membership.remove(two.membership.status.member_id)
    crew.until(lambda: bool(two.losses), 5, "it to notice")
    crew.settle()
    assert two.losses[0].epoch == 1
    assert two.epoch == 2
    assert two.process != old
    assert old in one.fenced
    assert two.process not in one.fenced
    with pytest.raises(Fenced, match="epoch 1"), two.membership.sending_offsets(1):
        pass
    with two.membership.sending_offsets(2) as metadata:
        assert two.membership.status.member_id.encode() in metadata


def test_a_member_ends_its_epoch_when_its_task_executor_is_fenced(crew: Crew) -> None:
    one, two = crew.add(), crew.add()
    crew.settle()
    two.membership.give_up(1, "the producer was fenced")
    two.membership.give_up(1, "and once more")
    crew.until(lambda: bool(two.losses), 5, "the epoch to end")
    crew.settle()
    assert [(loss.epoch, loss.why) for loss in two.losses] == [(1, "the producer was fenced")]
    assert two.epoch == 2
    assert not one.losses


def test_a_main_thread_that_hangs_loses_its_tasks_and_gets_new_ones_when_it_resumes(crew: Crew) -> None:
    one, two = crew.add(), crew.add(max_poll_interval=1_500)
    crew.settle()
    two.hanging = True
    crew.until(lambda: len(one.running) == 8, 8, "the other to take over")
    crew.work(1)
    assert len(one.running) == 8, "it rejoined although it still hangs"
    two.hanging = False
    crew.until(lambda: bool(two.losses), 3, "it to hear of it")
    assert "no progress" in two.losses[0].why
    crew.settle()


def test_a_restarted_process_removes_its_former_member_at_once(crew: Crew) -> None:
    crew.add()
    two = crew.add(watch_peers=False)
    crew.settle()
    status = two.membership.status
    crew.drop(two)
    began = time.monotonic()
    again = crew.add(former=Former(status.member_id, two.process))
    crew.settle()
    assert time.monotonic() - began < 3.0 * PATIENCE
    assert len(again.running) == 4


@pytest.mark.kafka
def test_a_static_member_restarts_and_nothing_moves(crew: Crew) -> None:
    """One rebalance informs the group of the new process; no member closes a task for it."""
    one, two = crew.add(), crew.add(instance_id="two")
    crew.settle()
    generation, tasks, former = one.generation, set(two.running), two.process
    crew.drop(two)
    crew.work(1.5)  # its peers detect the death, and do not remove it
    again = crew.add(instance_id="two")
    crew.settle()
    crew.until(lambda: again.generation == one.generation == generation + 1, 10, "the group to hear of the process")
    crew.settle()
    assert again.running == tasks
    assert not one.closed
    assert former in again.fenced, "the open transactions of the former process were not fenced"


@pytest.mark.kafka
def test_two_processes_with_the_same_instance_id_are_distinguished(crew: Crew) -> None:
    first = crew.add(instance_id="same")
    crew.settle()
    second = crew.add(instance_id="same")
    crew.until(lambda: bool(first.failures), 10, "the first to be fenced")
    error = first.failures[0].error
    assert isinstance(error, Fatal)
    assert "'same'" in str(error)
    crew.until(lambda: len(second.running) == 8, 10, "the second to have the tasks")


@pytest.mark.kafka
def test_a_group_of_consumers_of_another_kind_is_refused(crew: Crew, topic: Callable[..., str]) -> None:
    options = {"bootstrap.servers": crew.bootstrap, "group.id": crew.group, "log_level": 0}
    consumer = Consumer(options)
    consumer.subscribe([topic()])
    try:
        wait_for(lambda: members(crew.bootstrap, crew.group) or consumer.poll(0.1), 20, "the consumer to join")
        hand = crew.add()
        crew.until(lambda: bool(hand.failures), 10, "the refusal")
        assert "another application id" in str(hand.failures[0].error)
    finally:
        consumer.close()


@pytest.mark.kafka
def test_a_session_timeout_that_the_broker_does_not_allow_is_named(crew: Crew) -> None:
    hand = crew.add(session_timeout=500)
    crew.until(lambda: bool(hand.failures), 10, "the refusal")
    assert isinstance(hand.failures[0].error, ConfigError)
    assert "session_timeout=500" in str(hand.failures[0].error)


def test_kafkas_tools_can_read_the_group(crew: Crew) -> None:
    hands = [crew.add(), crew.add()]
    crew.settle()
    admin = AdminClient({"bootstrap.servers": crew.bootstrap})
    described = admin.describe_consumer_groups([crew.group])[crew.group].result(10)
    assert described.partition_assignor == "tidemill"
    assert len(described.members) == 2
    shown = {m.member_id: {(p.topic, p.partition) for p in m.assignment.topic_partitions} for m in described.members}
    for hand in hands:
        expected = {("in", task.partition) for task in hand.running}
        assert shown[hand.membership.status.member_id] == expected


def test_thousands_of_tasks(kafka: Kafka, app_id: str) -> None:
    crew = Crew(kafka.bootstrap, app_id, {f"topic-{n}": 1000 for n in range(5)})
    try:
        for _ in range(4):
            crew.add(rebalance_timeout=30_000)
        crew.settle(60)
        assert [len(hand.running) for hand in crew.hands] == [1250] * 4
        crew.drop(crew.hands[0])
        crew.settle(30)
    finally:
        crew.close()


def test_new_partitions_that_only_some_members_have_detected(crew: Crew) -> None:
    one, two = crew.add(), crew.add()
    crew.settle()
    crew.parts = (SubTopologyInfo(0, "in", "v1", {"in": 10}),)
    one.membership.describe(crew.parts)
    crew.until(lambda: {TaskId(0, 8), TaskId(0, 9)} <= one.running, 10, "the new tasks to run where they are known")
    two.membership.describe(crew.parts)
    crew.settle()


def test_members_that_number_their_sub_topologies_differently(crew: Crew) -> None:
    """As two versions of a program do: only the names matter."""
    crew.parts = (SubTopologyInfo(0, "in", "v1", {"in": 4}), SubTopologyInfo(1, "more", "v1", {"more": 4}))
    one = crew.add()
    crew.settle()
    crew.parts = (
        SubTopologyInfo(0, "other", "v1", {"other": 2}),
        SubTopologyInfo(1, "more", "v1", {"more": 4}),
        SubTopologyInfo(2, "in", "v1", {"in": 4}),
    )
    two = crew.add()
    crew.until(lambda: len(one.running) + len(two.running) == 10 and len(one.running) == 5, 15, "both to share")
    mine = {("in", "more")[task.subtopology] + str(task.partition) for task in one.running}
    its = {("other", "more", "in")[task.subtopology] + str(task.partition) for task in two.running}
    assert {"other0", "other1"} <= its
    assert mine | its == {f"{name}{n}" for name, n in [("other", 0), ("other", 1)]} | {
        f"{name}{n}" for name in ("in", "more") for n in range(4)
    }


def test_standbys_are_kept_and_take_over(crew: Crew) -> None:
    hands = [crew.add(policy=AssignmentPolicy(standbys=1)) for _ in range(3)]
    crew.settle()
    crew.until(lambda: sum(len(h.plans[-1].plan.standby) for h in hands) == 8, 10, "a copy of each task")
    crew.work(1.5)
    dead = hands[0]
    copies = {task: hand for hand in hands[1:] for task in hand.plans[-1].plan.standby & dead.running}
    assert set(copies) == dead.running
    crew.drop(dead)
    crew.until(lambda: all(task in hand.running for task, hand in copies.items()), 5, "the copies to take over")


def test_a_closed_membership_refuses_calls(kafka: Kafka, app_id: str) -> None:
    membership = Membership(Crew(kafka.bootstrap, app_id).settings())
    membership.close()
    membership.close()
