"""Commits during rebalances: what the broker allows in each state of the group, and the rule derived from it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from tests.brokers.client import transactional_producer, undecided
from tests.brokers.kafka import Kafka
from tests.integration.crew import Crew, Hand
from tests.support.patience import PATIENCE
from tidemill.engine.errors import Fenced, Retryable
from tidemill.engine.group.group_metadata import group_metadata
from tidemill.engine.group.membership import Assigned, Membership
from tidemill.engine.ids import incarnation, transactional_id
from tidemill.engine.kafka.connections import BrokerConnections
from tidemill.engine.kafka.encoding import Request
from tidemill.engine.kafka.offset_requests import commit_offsets
from tidemill.engine.kafka.protocol import JoinGroupResponse, join_group, sync_group
from tidemill.engine.kafka.security import connection


@pytest.fixture
def crew(kafka: Kafka, app_id: str) -> Iterator[Crew]:
    crew = Crew(kafka.bootstrap, app_id)
    yield crew
    crew.close()


class Raw:
    """A plain member that sends single requests on behalf of the test."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self.wire = BrokerConnections(connection({"bootstrap.servers": bootstrap}))
        self.group = group
        self.member = ""
        self.generation = -1

    async def ask(self, request: Request[Any], lane: str = "group") -> Any:
        while True:
            try:
                return await self.wire.send(await self.wire.coordinator(self.group), request, 20, lane)
            except Retryable:  # a new cluster creates its coordinators at the first use
                await asyncio.sleep(0.1)

    async def join(self) -> JoinGroupResponse:
        def request() -> Request[JoinGroupResponse]:
            return join_group(self.group, 20_000, 20_000, self.member, None, "raw", self.member.encode())

        joined: JoinGroupResponse = await self.ask(request())
        while joined.error in (14, 15, 16):  # the coordinator is not available yet
            await asyncio.sleep(0.1)
            self.wire.forget(self.group)
            joined = await self.ask(request())
        if joined.error == 79:
            self.member = joined.member
            joined = await self.ask(request())
        assert joined.error == 0
        self.generation = joined.generation
        return joined

    async def sync(self, joined: JoinGroupResponse) -> None:
        assignments = {member: b"" for member, _ in joined.members}
        synced = await self.ask(sync_group(self.group, self.generation, self.member, None, assignments))
        assert synced.error == 0

    async def plain(self, topic: str, generation: int) -> int:
        """Return the error code of an OffsetCommit."""
        request = commit_offsets(self.group, generation, self.member, None, {(topic, 0): (1, "")})
        return (await self.ask(request, "offsets"))[topic, 0]

    async def transactional(self, producer: Producer, topic: str, generation: int) -> str:
        """Return the outcome of a transaction with offsets."""
        metadata = group_metadata(self.group, generation, self.member, None)
        return await asyncio.to_thread(commit, producer, topic, metadata)


def commit(producer: Producer, topic: str, metadata: bytes) -> str:
    producer.begin_transaction()
    try:
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], metadata, 10)
        producer.commit_transaction(10)
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        assert error.txn_requires_abort()
        producer.abort_transaction(10)
        return error.name()
    return "committed"


@pytest.mark.kafka
def test_what_the_broker_allows_in_each_state_of_the_group(
    kafka: Kafka, app_id: str, topic: Callable[..., str]
) -> None:
    """The table from which the rule is derived."""
    name = topic()
    producer = transactional_producer(kafka.bootstrap, f"{app_id}-producer")

    async def states() -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        a, b, c = (Raw(kafka.bootstrap, app_id) for _ in range(3))

        async def note(state: str, generation: int) -> None:
            found[state] = await a.transactional(producer, name, generation), await a.plain(name, generation)

        await a.sync(await a.join())
        joining = asyncio.create_task(b.join())
        await asyncio.sleep(0.3)
        joined = await a.join()
        await asyncio.gather(a.sync(joined), b.sync(await joining))
        old = a.generation
        await note("stable, its generation", old)
        third = asyncio.create_task(c.join())
        await asyncio.sleep(0.3)
        await note("another joins, self not yet, old", old)
        own = asyncio.create_task(a.join())
        await asyncio.sleep(0.3)
        await note("own join waits for others, old", old)
        joined_b = await b.join()
        joined_a, joined_c = await own, await third
        await note("joined, before sync, old", old)
        await note("joined, before sync, new", a.generation)
        await asyncio.gather(a.sync(joined_a), b.sync(joined_b), c.sync(joined_c))
        await note("stable, old", old)
        await note("stable, new", a.generation)
        for raw in (a, b, c):
            await raw.wire.close()
        return found

    assert asyncio.run(states()) == {
        "stable, its generation": ("committed", 0),
        "another joins, self not yet, old": ("committed", 0),
        "own join waits for others, old": ("committed", 0),
        "joined, before sync, old": ("ILLEGAL_GENERATION", 22),
        "joined, before sync, new": ("committed", 27),
        "stable, old": ("ILLEGAL_GENERATION", 22),
        "stable, new": ("committed", 0),
    }


class Committing(Hand):
    """Commits offsets of all its tasks repeatedly, in a separate thread."""

    def __init__(self, membership: Membership, bootstrap: str, app_id: str, topic: str) -> None:
        super().__init__(membership)
        self.size = 0
        self.outcomes: Counter[str] = Counter()
        self.holds: list[float] = []
        self._topic = topic
        self._producer = transactional_producer(bootstrap, transactional_id(app_id, membership.process))
        self._stop = threading.Event()
        self._between = threading.Lock()
        self._thread = threading.Thread(target=self._commit_for_ever)
        self._thread.start()

    def assigned(self, event: Assigned) -> None:
        with self._between:  # as in the task executor: assignments are handled between two commits
            super().assigned(event)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _commit_for_ever(self) -> None:
        while not self._stop.is_set():
            with self._between:
                tasks = sorted(self.running)
                if tasks:
                    self._commit([TopicPartition(self._topic, task.partition, 1) for task in tasks])
            self._stop.wait(0.005)

    def _commit(self, offsets: list[TopicPartition]) -> None:
        self._producer.begin_transaction()
        try:
            began = time.monotonic()
            with self.membership.sending_offsets(self.epoch) as metadata:
                self.holds.append(time.monotonic() - began)
                self._producer.send_offsets_to_transaction(offsets, metadata, 10)
            self._producer.commit_transaction(10)
            self.outcomes["committed"] += 1
        except KafkaException as failure:
            self.outcomes[failure.args[0].name()] += 1
            self._producer.abort_transaction(10)


@pytest.mark.kafka
def test_no_transaction_is_aborted_while_members_join_and_leave(crew: Crew, topic: Callable[..., str]) -> None:
    name = topic(partitions=8)

    def committing(membership: Membership) -> Committing:
        return Committing(membership, crew.bootstrap, crew.group, name)

    hands = [crew.add(committing, heartbeat_interval=300) for _ in range(2)]
    try:
        crew.settle(20)
        for _ in range(4):
            guest = crew.add(heartbeat_interval=300)
            guest.size = 0
            crew.settle(20)
            crew.leave(guest)
            crew.settle(20)
    finally:
        for hand in hands:
            assert isinstance(hand, Committing)
            hand.stop()
    for hand in hands:
        assert isinstance(hand, Committing)
        assert set(hand.outcomes) == {"committed"}, hand.outcomes
        assert hand.outcomes["committed"] > 20
        assert max(hand.holds) < 0.6 * PATIENCE
        assert not hand.losses


@pytest.mark.kafka
def test_a_commit_is_not_delayed_for_longer_than_its_limit(crew: Crew, topic: Callable[..., str]) -> None:
    """The join waits for a member that does not respond; the commit has the old generation, and is accepted."""
    name = topic(partitions=8)
    one, two = crew.add(heartbeat_interval=200), crew.add(watch_peers=False, rebalance_timeout=8_000)
    crew.settle()
    producer = transactional_producer(crew.bootstrap, transactional_id(crew.group, one.process))
    release = freeze(two)
    crew.add(heartbeat_interval=200)
    crew.until(lambda: one.membership.status.phase == "joining", 5, "its own join")
    time.sleep(0.2)
    began = time.monotonic()
    with one.membership.sending_offsets(one.epoch) as metadata:
        held = time.monotonic() - began
        assert commit(producer, name, metadata) == "committed"
    assert 0.4 < held < 0.8
    assert one.membership.status.phase == "joining"
    release()
    crew.settle(20)
    assert not one.losses


def freeze(hand: Hand) -> Callable[[], None]:
    """Pause the membership thread, as by SIGSTOP, until the returned function is called."""
    event = threading.Event()
    hand.membership._background.soon(event.wait, 30)
    return event.set


@pytest.mark.kafka
def test_a_join_waits_for_offsets_in_flight(crew: Crew) -> None:
    one = crew.add(heartbeat_interval=200)
    crew.settle()
    with one.membership.sending_offsets(one.epoch):
        crew.add(heartbeat_interval=200)
        crew.work(1.2)
        assert one.generation == 1, "it joined the next generation while sending offsets"
        assert one.membership.status.phase == "joining"
    crew.settle()


@pytest.mark.kafka
def test_membership_lost_between_the_permission_and_the_commit(crew: Crew, topic: Callable[..., str]) -> None:
    """The earlier permission is void: the broker refuses the commit, and then so does the membership."""
    name = topic(partitions=8)
    one, two = crew.add(), crew.add()
    crew.settle()
    producer = transactional_producer(crew.bootstrap, transactional_id(crew.group, two.process))
    epoch = two.epoch
    with two.membership.sending_offsets(epoch) as metadata:
        one.membership.remove(two.membership.status.member_id)
        assert commit(producer, name, metadata) == "UNKNOWN_MEMBER_ID"
    crew.until(lambda: bool(two.losses), 5, "the loss")
    with pytest.raises(Fenced), two.membership.sending_offsets(epoch):
        pass
    with pytest.raises(Fenced):
        two.membership.commit_offsets(epoch, {(name, 0): (1, "")})
    with pytest.raises(Fenced):
        two.membership.group_metadata(epoch)


def test_offsets_outside_transactions(crew: Crew, topic: Callable[..., str]) -> None:
    name = topic(partitions=3)
    one = crew.add()
    crew.settle()
    assert one.membership.fetch_offsets([(name, 0), (name, 2)]) == {(name, 0): None, (name, 2): None}
    one.membership.commit_offsets(one.epoch, {(name, 0): (17, "a note"), (name, 1): (0, "")})
    assert one.membership.fetch_offsets([(name, 0), (name, 1), (name, 2)]) == {
        (name, 0): (17, "a note"),
        (name, 1): (0, ""),
        (name, 2): None,
    }
    one.membership.commit_offsets(one.epoch, {})
    assert one.membership.fetch_offsets([]) == {}


@pytest.mark.kafka
def test_plain_commits_while_members_join_and_leave(crew: Crew, topic: Callable[..., str]) -> None:
    name = topic(partitions=8)
    one = crew.add(heartbeat_interval=200)
    crew.settle()
    done = threading.Event()
    numbers: list[int] = []

    def commit_for_ever() -> None:
        while not done.is_set():
            one.membership.commit_offsets(one.epoch, {(name, 0): (len(numbers), "")}, 10)
            numbers.append(len(numbers))

    thread = threading.Thread(target=commit_for_ever)
    thread.start()
    try:
        for _ in range(3):
            guest = crew.add(heartbeat_interval=200)
            crew.settle()
            crew.leave(guest)
            crew.settle()
    finally:
        done.set()
        thread.join()
    assert len(numbers) > 50
    assert one.membership.fetch_offsets([(name, 0)]) == {(name, 0): (numbers[-1], "")}


def open_transaction(bootstrap: str, group: str, process: str, topic: str, metadata: bytes) -> Producer:
    """Open a transaction as a process leaves it that dies between sending offsets and committing."""
    producer = transactional_producer(bootstrap, transactional_id(group, process), {"transaction.timeout.ms": 60_000})
    producer.begin_transaction()
    producer.produce(topic, b"unfinished", partition=0)
    producer.flush(10)
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 5)], metadata, 10)
    return producer


@pytest.mark.kafka
@pytest.mark.parametrize("survivors", [1, 0])
def test_transactions_of_dead_processes_are_ended_at_once(
    crew: Crew, topic: Callable[..., str], survivors: int
) -> None:
    """By the chain of former owners if a member remembers it; by listing transactions if the whole group has died."""
    name = topic(partitions=8)
    for _ in range(survivors):
        crew.add()
    dying = crew.add(session_timeout=3_000)
    crew.settle()
    with dying.membership.sending_offsets(dying.epoch) as metadata:
        left = open_transaction(crew.bootstrap, crew.group, dying.process, name, metadata)
    assert 0 in undecided(crew.bootstrap, name)
    crew.drop(dying)
    began = time.monotonic()
    if not survivors:
        crew.add()
        crew.until(lambda: bool(crew.hands[0].plans), 10, "the new group")
    crew.settle(40)
    assert not undecided(crew.bootstrap, name)
    assert crew.hands[0].membership.fetch_offsets([(name, 0)], 5) == {(name, 0): None}
    if survivors:
        assert time.monotonic() - began < 2 * PATIENCE
    with pytest.raises(KafkaException):
        left.commit_transaction(10)


@pytest.mark.kafka
def test_offsets_are_not_read_while_a_transaction_with_them_is_open(crew: Crew, topic: Callable[..., str]) -> None:
    name = topic(partitions=8)
    one = crew.add()
    crew.settle()
    with one.membership.sending_offsets(one.epoch) as metadata:
        producer = open_transaction(crew.bootstrap, crew.group, one.process, name, metadata)
    with pytest.raises(Retryable, match="still open"):
        one.membership.fetch_offsets([(name, 0), (name, 1)], 0.5)
    threading.Timer(0.5, producer.commit_transaction).start()
    assert one.membership.fetch_offsets([(name, 0), (name, 1)], 10) == {(name, 0): (5, ""), (name, 1): None}


@pytest.mark.kafka
def test_fencing_of_orphans_spares_live_members_and_other_applications(crew: Crew, topic: Callable[..., str]) -> None:
    name = topic(partitions=8)
    one, two = crew.add(), crew.add()
    crew.settle()
    dead = incarnation("d" * 32, 1)
    open_producers = {
        process: open_transaction(crew.bootstrap, group, process, name, group_metadata("another", -1, "", None))
        for group, process in (
            (crew.group, two.process),
            (f"{crew.group}-x", incarnation("e" * 32, 1)),
            (crew.group, dead),
        )
    }
    assert one.membership.fence_orphans() == [dead]
    for process, producer in open_producers.items():
        if process == dead:
            with pytest.raises(KafkaException):
                producer.commit_transaction(10)
        else:
            producer.commit_transaction(10)
    assert one.membership.fence_orphans() == []
