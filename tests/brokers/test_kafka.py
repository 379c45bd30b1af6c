"""Tests of the real brokers and of the client helpers: reading, injected faults, recovery, and clean-up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import choice, client
from tests.brokers.kafka import Kafka
from tests.brokers.process import exists
from tests.brokers.transactions import open_transactions

_ROOT = Path(__file__).parents[2]


def test_rows_are_read_as_they_were_written(kafka: Kafka, topic: Callable[..., str]) -> None:
    name = topic("rows", partitions=3)
    sent = [client.Row(b"k%d" % n, b"v%d" % n, n % 3, 1_700_000_000_000 + n, (("h", b"%d" % n),)) for n in range(3000)]
    sent.append(client.Row(b"k0", None, 0, 1_700_000_000_999))
    assert client.produce(kafka.bootstrap, name, sent) == 3001
    rows = client.read(kafka.bootstrap, name)
    assert [(r.key, r.value, r.timestamp, r.headers) for r in rows if r.partition == 0] == [
        (r.key, r.value, r.timestamp, r.headers) for r in sent if r.partition == 0
    ]
    assert len(rows) == 3001
    assert [row.offset for row in rows if row.partition == 2] == list(range(1000))
    assert len(client.read(kafka.bootstrap, name, partitions=[1], start={1: 990}, until={1: 995})) == 5
    assert client.end_offsets(kafka.bootstrap, name) == {0: 1001, 1: 1000, 2: 1000}
    state = client.changelog(kafka.bootstrap, name)
    assert b"k0" not in state[0]
    assert state[1][b"k1"] == b"v1"


def test_keys_are_partitioned_as_by_the_java_client(kafka: Kafka, topic: Callable[..., str]) -> None:
    name = topic("keys", partitions=4)
    client.produce(kafka.bootstrap, name, [(key, None) for key in (b"a", b"b", b"c", b"d", b"hello")])
    placed = {row.key: row.partition for row in client.read(kafka.bootstrap, name)}
    assert placed == {key: (_murmur2(key) & 0x7FFFFFFF) % 4 for key in (b"a", b"b", b"c", b"d", b"hello")}


def _murmur2(data: bytes) -> int:
    """Kafka's key hash, implemented from its definition."""
    h, m = 0x9747B28C ^ len(data), 0x5BD1E995
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ ((k ^ k >> 24) * m & 0xFFFFFFFF)
    if data[whole:]:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return h ^ h >> 15


@pytest.mark.kafka
def test_a_verifier_sees_an_open_transaction(kafka: Kafka, topic: Callable[..., str], app_id: str) -> None:
    name = topic("transactional")
    producer = client.transactional_producer(kafka.bootstrap, app_id)
    producer.begin_transaction()
    producer.produce(name, key=b"k", value=b"committed")
    producer.send_offsets_to_transaction(
        [client.TopicPartition(name, 0, 7, "note")], client.group_metadata(kafka.bootstrap, app_id)
    )
    producer.commit_transaction()
    assert client.committed(kafka.bootstrap, app_id) == {(name, 0): client.Offset(7, "note")}
    assert client.committed_offsets(kafka.bootstrap, app_id, name) == {0: 7}

    producer.begin_transaction()
    producer.produce(name, key=b"k", value=b"open")
    producer.flush()
    assert [(t.transactional_id, t.state) for t in open_transactions(kafka.bootstrap)] == [(app_id, "Ongoing")]
    assert client.undecided(kafka.bootstrap, name) == {0: (2, 3)}
    assert [row.value for row in client.read(kafka.bootstrap, name)] == [b"committed"]
    assert [row.value for row in client.read(kafka.bootstrap, name, committed=False)] == [b"committed", b"open"]

    producer.abort_transaction()
    assert open_transactions(kafka.bootstrap) == []
    assert client.undecided(kafka.bootstrap, name) == {}
    assert client.changelog(kafka.bootstrap, name) == {0: {b"k": b"committed"}}


@pytest.mark.kafka
def test_topics_are_not_created_automatically(kafka: Kafka) -> None:
    with pytest.raises(RuntimeError, match="were not acknowledged"):
        client.produce(kafka.bootstrap, "never-made", [(b"k", b"v")], {"message.timeout.ms": 2000})
    assert "never-made" not in client.topics(kafka.bootstrap)


def test_topic_settings_are_applied(kafka: Kafka, topic: Callable[..., str]) -> None:
    name = topic("compacted", cleanup_policy="compact")
    assert client.topic_config(kafka.bootstrap, name)["cleanup.policy"] == "compact"


@pytest.mark.slow
def test_a_broker_keeps_its_data_through_kill_stop_and_pause(own_kafka: Kafka) -> None:
    node = own_kafka.nodes[0]
    client.create_topic(own_kafka.bootstrap, "kept", 1)
    client.produce(own_kafka.bootstrap, "kept", [(b"k", b"%d" % n) for n in range(100)])

    own_kafka.kill()
    assert not node.alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(own_kafka.bootstrap.rpartition(":")[2])), 1)
    own_kafka.restart()
    assert len(client.read(own_kafka.bootstrap, "kept")) == 100

    own_kafka.stop()
    assert "shut down completed" in own_kafka.log.read_text()
    own_kafka.restart()
    assert len(client.read(own_kafka.bootstrap, "kept")) == 100

    own_kafka.pause()
    with pytest.raises(client.KafkaException):
        client.admin(own_kafka.bootstrap).list_topics(timeout=1)
    own_kafka.resume()
    assert "kept" in client.wait_for(lambda: client.topics(own_kafka.bootstrap), 20, "the broker to go on")


@pytest.mark.slow
def test_all_of_a_clients_connections_go_through_the_proxy(own_kafka: Kafka) -> None:
    client.create_topic(own_kafka.proxied_bootstrap, "seen", 1)
    before = own_kafka.proxy.forwarded["to_broker"]
    client.produce(own_kafka.proxied_bootstrap, "seen", [(None, bytes(500_000))])
    assert own_kafka.proxy.forwarded["to_broker"] - before > 500_000

    own_kafka.proxy.cut()
    with pytest.raises(RuntimeError, match="not acknowledged"):
        client.produce(own_kafka.proxied_bootstrap, "seen", [(None, b"held")], {"message.timeout.ms": 1500})
    assert client.produce(own_kafka.bootstrap, "seen", [(None, b"beside the proxy")]) == 1
    own_kafka.proxy.heal()
    assert client.produce(own_kafka.proxied_bootstrap, "seen", [(None, b"healed")]) == 1


@pytest.mark.slow
def test_a_broker_can_have_settings_of_its_own(start_kafka: Callable[..., Kafka]) -> None:
    kafka = start_kafka(settings={"message.max.bytes": "1000"})
    client.create_topic(kafka.bootstrap, "small", 1)
    with pytest.raises(RuntimeError, match="MSG_SIZE_TOO_LARGE"):
        client.produce(kafka.bootstrap, "small", [(None, os.urandom(2000))])


@pytest.mark.slow
def test_three_brokers_continue_with_two(cluster: Kafka) -> None:
    client.create_topic(cluster.bootstrap, "replicated", 6)
    client.produce(cluster.bootstrap, "replicated", [(b"%d" % n, b"before") for n in range(100)])
    cluster.nodes[1].kill()
    client.produce(cluster.bootstrap, "replicated", [(b"%d" % n, b"during") for n in range(100)], {"acks": "all"})
    assert len(client.read(cluster.bootstrap, "replicated")) == 200
    cluster.restart()
    assert len(client.admin(cluster.bootstrap).list_topics(timeout=10).brokers) == 3
    assert open_transactions(cluster.bootstrap) == []


@pytest.mark.slow
@pytest.mark.kafka
def test_a_killed_run_leaves_no_broker(tmp_path: Path) -> None:
    run = textwrap.dedent(
        """
        import os, signal
        from tests.brokers.choice import choose
        kafka = choose({}).start_own()
        print(kafka.nodes[0].pid, kafka.log.parent.parent, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    if choice.choose({}).own != "apache":
        pytest.skip("left out: the broker of this run is not a separate process")
    ended = subprocess.run(
        [sys.executable, "-c", run], cwd=_ROOT, capture_output=True, text=True, check=False, timeout=90
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    pid, directory = ended.stdout.split()
    client.wait_for(lambda: not exists(int(pid)), 5, "the broker to die")
    client.wait_for(lambda: not Path(directory).exists(), 5, "its directory to go")


@pytest.mark.slow
@pytest.mark.kafka
def test_a_broker_that_does_not_start_shows_its_log(start_kafka: Callable[..., Kafka]) -> None:
    with pytest.raises(RuntimeError, match="ended while starting") as failure:
        start_kafka(settings={"metric.reporters": "no.such.Reporter"})
    assert "no.such.Reporter" in str(failure.value)
