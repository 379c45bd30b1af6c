"""Removal of members that leave, rejoin or die at the same time: every task runs in exactly one place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.brokers.kafka import Kafka
from tests.integration.crew import Crew, Hand
from tidemill.engine.group.membership import Former

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def crew(kafka: Kafka, app_id: str) -> Iterator[Crew]:
    crew = Crew(kafka.bootstrap, app_id)
    yield crew
    crew.close()


def test_a_removal_that_races_with_a_clean_leave(crew: Crew) -> None:
    hands = [crew.add() for _ in range(3)]
    crew.settle(30)
    leaving = hands.pop()
    member = leaving.membership.status.member_id
    crew.hands.remove(leaving)
    with ThreadPoolExecutor(3) as pool:
        removals = [pool.submit(hand.membership.remove, member) for hand in hands]
        leaving.membership.leave(5)
        assert sum(removal.result() for removal in removals) <= 1
    leaving.membership.close()
    crew.settle(30)
    assert not any(hand.losses for hand in hands)
    assert not leaving.losses, "a leaving member is not notified that it was removed"


def test_removals_that_race_with_rejoins_of_a_live_member(crew: Crew) -> None:
    """It is removed repeatedly while other members cause rebalances, and is back at the end."""
    one, two = crew.add(), crew.add(heartbeat_interval=200)
    crew.settle(30)
    incarnations = {two.process}
    done = threading.Event()

    def remove_for_ever() -> None:
        while not done.is_set():
            member = two.membership.status.member_id
            if member:
                one.membership.remove(member)
            time.sleep(0.15)

    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(remove_for_ever)
        for _ in range(3):
            guest = crew.add()
            crew.work(1.0)
            crew.leave(guest)
            incarnations.add(two.process)
        done.set()
        removing.result()
    crew.settle(30)
    assert two.losses, "no removal took effect"
    assert len(incarnations) > 1
    assert two.process not in one.fenced, "a live epoch was fenced"
    assert not one.losses


def test_a_dead_member_that_is_removed_while_its_restart_joins(crew: Crew) -> None:
    """By peers and by its own restart at the same time; the restarted process is not removed instead."""
    one, two, three = crew.add(), crew.add(), crew.add()
    crew.settle(30)
    member, process = three.membership.status.member_id, three.process
    crew.drop(three)
    with ThreadPoolExecutor(2) as pool:
        removals = [pool.submit(hand.membership.remove, member) for hand in (one, two)]
        again: Hand = crew.add(former=Former(member, process))
        assert sum(removal.result() for removal in removals) <= 1
    crew.settle(30)
    assert not any(hand.losses for hand in crew.hands)
    assert again.process not in one.fenced | two.fenced
