"""Memberships under faults: broker outages, lost packets, and leaders that die in a rebalance."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.brokers.client import members, wait_for
from tests.brokers.kafka import Kafka
from tests.brokers.process import spawn
from tests.integration.crew import Crew
from tests.support.patience import PATIENCE
from tidemill.engine.errors import Fatal, Retryable
from tidemill.engine.kafka.connections import BrokerConnections
from tidemill.engine.kafka.security import connection

pytestmark = pytest.mark.kafka


@pytest.fixture
def crew(own_kafka: Kafka, app_id: str) -> Iterator[Crew]:
    crew = Crew(own_kafka.bootstrap, app_id)
    yield crew
    crew.close()


@pytest.mark.parametrize("how", ["restart", "kill", "pause"])
def test_no_member_loses_a_task_in_a_broker_outage(own_kafka: Kafka, crew: Crew, how: str) -> None:
    """Longer than the session timeout: the coordinator is unavailable as well, so no session ends.

    A restarted coordinator restarts all sessions when it has loaded the group, which is before members can find it: a
    killed broker is only announced after its former registration has expired.
    """
    hands = [crew.add(session_timeout=8_000, heartbeat_interval=300) for _ in range(2)]
    crew.settle(30)
    tasks = [set(hand.running) for hand in hands]
    if how == "pause":
        own_kafka.pause()
        crew.work(2)
        own_kafka.resume()
    else:
        own_kafka.stop() if how == "restart" else own_kafka.kill()
        crew.work(9)
        assert all(hand.membership.status.trouble for hand in hands)
        assert [hand.running for hand in hands] == tasks, (
            "tasks were given up although no other member can have taken them"
        )
        own_kafka.restart()
    crew.until(lambda: not any(hand.membership.status.trouble for hand in hands), 30, "the broker to be seen again")
    crew.work(2)
    crew.settle(30)
    assert not any(hand.losses for hand in hands)


@pytest.mark.parametrize("direction", ["both", "to_broker", "to_client"])
def test_a_member_that_is_cut_off_from_the_brokers(
    own_kafka: Kafka, crew: Crew, direction: Literal["both", "to_broker", "to_client"]
) -> None:
    """Its peers see that the process is alive, so only its session timeout removes it. It rejoins as a new member."""
    one = crew.add(session_timeout=3_000, heartbeat_interval=300)
    two = crew.add(session_timeout=3_000, heartbeat_interval=300, bootstrap=own_kafka.proxied_bootstrap)
    crew.settle(30)
    cut_off = two.process
    own_kafka.proxy.cut(direction)
    began = time.monotonic()
    crew.until(lambda: len(one.running) == 8, 20, "the other to take over")
    assert 2 < time.monotonic() - began < 6 * PATIENCE
    assert cut_off in one.fenced
    own_kafka.proxy.heal()
    crew.until(lambda: bool(two.losses), 30, "it to find out")
    crew.settle(30)
    assert two.process != cut_off
    assert two.process not in one.fenced
    assert not one.losses


def test_no_member_loses_a_task_when_connections_break(own_kafka: Kafka, crew: Crew) -> None:
    hands = [crew.add(heartbeat_interval=200, bootstrap=own_kafka.proxied_bootstrap) for _ in range(2)]
    crew.settle(30)
    closed = [set(hand.closed) for hand in hands]
    for _ in range(5):
        own_kafka.proxy.close_connections()
        crew.work(0.7)
    crew.settle(30)
    assert not any(hand.losses for hand in hands)
    assert [hand.closed for hand in hands] == closed


@pytest.mark.parametrize("stall", [2, 3])
def test_a_leader_that_dies_during_a_rebalance(crew: Crew, tmp_path: Path, stall: int) -> None:
    """Members that had it as a peer remove it from the group; otherwise its session times out."""
    log = tmp_path / "leader.log"
    session = 3_000 if stall == 2 else 30_000
    program = Path(__file__).with_name("programs") / "member.py"
    child = spawn([sys.executable, str(program), crew.bootstrap, crew.group, str(session), str(stall)], log=log)
    wait_for(lambda: members(crew.bootstrap, crew.group), 20, "the leader to be alone in the group")
    time.sleep(0.5)
    hand = crew.add()
    if stall == 3:
        crew.until(lambda: len(hand.running) == 4, 15, "the first two to share")
        crew.work(0.5)
        crew.add()
    crew.until(lambda: "stalling" in log.read_text(), 15, "the leader to stall")
    began = time.monotonic()
    child.kill()
    crew.settle(15)
    assert time.monotonic() - began < PATIENCE * (8 if stall == 2 else 2), "not the session, nor the rebalance timeout"


def test_the_coordinator_moves_to_another_broker(cluster: Kafka, app_id: str) -> None:
    crew = Crew(cluster.bootstrap, app_id)
    try:
        hands = [crew.add(session_timeout=10_000, heartbeat_interval=300) for _ in range(3)]
        crew.settle(40)
        tasks = [set(hand.running) for hand in hands]
        port = asyncio.run(coordinator(cluster.bootstrap, app_id))
        (node,) = [node for node in cluster.nodes if node.bootstrap.endswith(f":{port}")]
        node.kill()
        crew.until(lambda: any(hand.membership.status.trouble for hand in hands), 10, "a member to detect it")
        crew.until(lambda: not any(hand.membership.status.trouble for hand in hands), 40, "the new coordinator")
        crew.work(1)
        assert not any(hand.losses for hand in hands)
        assert [hand.running for hand in hands] == tasks
        crew.add()
        crew.settle(40)
    finally:
        crew.close()
        cluster.restart()


async def coordinator(bootstrap: str, group: str) -> int:
    wire = BrokerConnections(connection({"bootstrap.servers": bootstrap}))
    try:
        return (await wire.coordinator(group)).port
    finally:
        await wire.close()


def test_an_unavailable_broker_is_named(app_id: str) -> None:
    crew = Crew("127.0.0.1:1", app_id)
    hand = crew.add()
    crew.until(lambda: "127.0.0.1:1" in hand.membership.status.trouble, 10, "the trouble to be reported")
    with pytest.raises(Retryable, match=r"127\.0\.0\.1:1"):
        hand.membership.fetch_offsets([("in", 0)], 0.5)
    assert not hand.failures
    crew.close()


def test_a_server_that_is_not_a_broker(app_id: str) -> None:
    """A port with another protocol is reported and retried, since it may be a proxy without its broker."""

    async def talk() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wire = BrokerConnections(connection({"bootstrap.servers": f"127.0.0.1:{port}"}))
        try:
            await wire.brokers()
        finally:
            await wire.close()
            server.close()

    with pytest.raises((Retryable, Fatal), match=r"127\.0\.0\.1"):
        asyncio.run(talk())
