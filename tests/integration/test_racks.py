"""Racks of processes and brokers: which replica a consumer reads, and where tasks run."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic

from tests.brokers import client
from tests.brokers.client import Row
from tests.brokers.kafka import Kafka
from tidemill.engine.config.settings import Settings
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.kafka.options import consumer_options, restore_options

from .stage import Stage

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def led_by(kafka: Kafka, topic: str, replicas: list[list[int]]) -> None:
    """Create a topic; the first replica of each partition is its leader."""
    admin = client.admin(kafka.bootstrap)
    [future] = admin.create_topics([NewTopic(topic, len(replicas), replica_assignment=replicas)]).values()
    future.result(30)
    wanted = dict(enumerate(row[0] for row in replicas))
    client.wait_for(lambda: leaders(kafka, topic) == wanted, 30, f"{topic} to have leaders")


def leaders(kafka: Kafka, topic: str) -> dict[int, int]:
    found = client.admin(kafka.bootstrap).list_topics(topic, timeout=10).topics[topic]
    return {number: partition.leader for number, partition in found.partitions.items()}


@pytest.mark.parametrize("rack", [None, "rack-2", "rack-3"])
def test_records_are_read_from_the_replica_in_the_same_rack(cluster: Kafka, app_id: str, rack: str | None) -> None:
    """Inputs and changelogs: the statistics of the client show from which broker it fetches a partition."""
    led_by(cluster, app_id, [[1, 2, 3]])
    client.produce(cluster.bootstrap, app_id, [(b"k", b"v")] * 100)
    settings = Settings(app_id="racks", broker=cluster.bootstrap, rack=rack)
    for options in (consumer_options(settings, 1), restore_options(settings, 1)):
        fetched_from: list[int] = []

        def told(text: str, into: list[int] = fetched_from) -> None:
            partition = json.loads(text)["topics"].get(app_id, {}).get("partitions", {}).get("0")
            if partition is not None:
                into.append(partition["broker"])

        watched: dict[str, Any] = {**options, "statistics.interval.ms": 100, "stats_cb": told}
        consumer = InputConsumer(watched)
        consumer.assign({(app_id, 0): 0})
        wanted = 1 if rack is None else int(rack[-1])
        seen, deadline = 0, time.monotonic() + 60
        while seen < 100 or fetched_from[-1:] != [wanted]:
            assert time.monotonic() < deadline, (seen, fetched_from[-5:])
            seen += sum(len(batch.offsets) for batch in consumer.poll(100, 0.1).batches)
        consumer.close()
        assert seen == 100


def test_tasks_follow_the_leaders_of_their_partitions(cluster: Kafka, app_id: str, tmp_path: Any) -> None:
    """Broker 2 leads all partitions, and no process is in its rack; when it stops, the new leaders are in the racks of
    processes, and the tasks move there."""
    stage = Stage(cluster, app_id, tmp_path)
    try:
        near_one, near_three = {0, 1, 5}, {2, 3, 4}
        data = stage.name("data")
        led_by(cluster, data, [[2, 1, 3] if number in near_one else [2, 3, 1] for number in range(6)])
        stage.topics("counts", partitions=6)
        lives = {
            rack: stage.program(
                "keyed.py",
                name=rack,
                state_dir=tmp_path / rack,
                rack=rack,
                near_leaders="true",
                balance_interval="1s",
                metadata_interval="500ms",
                heartbeat_interval="500ms",
            ).start()
            for rack in ("rack-1", "rack-3")
        }
        stage.send("data", [Row(b"k%d" % number, b"v", number) for number in range(6)])
        stage.wait_for_rows("counts", 6, 60)

        def parts() -> list[set[int]]:
            """Return the partitions of each member, as Kafka's tools show them."""
            found = client.members(cluster.bootstrap, app_id)
            return sorted({p.partition for p in member.assignment.topic_partitions} for member in found)

        client.wait_for(lambda: sorted(map(len, parts())) == [3, 3], 120, "three tasks in each")
        cluster.nodes[1].stop()
        client.wait_for(
            lambda: set(leaders(cluster, data).values()) == {1, 3}, 60, "the leaders to be where the processes are"
        )
        try:
            client.wait_for(lambda: parts() in ([near_one, near_three], [near_three, near_one]), 180, "tasks to follow")
        except TimeoutError as late:
            told = "\n".join(
                line for life in lives.values() for line in life.log.splitlines() if "tidemill.watch" in line
            )
            raise AssertionError(f"tasks are at {parts()}, leaders at {leaders(cluster, data)}:\n{told}") from late
        for rack, wanted in (("rack-1", near_one), ("rack-3", near_three)):
            for number in wanted:
                lives[rack].wait_for(f"task 0_{number} is ready")
        stage.send("data", [Row(b"k%d" % number, b"v", number) for number in range(6)])
        assert len(stage.wait_for_rows("counts", 12, 60)) == 12
        assert [life.stop() for life in lives.values()] == [0, 0]
    finally:
        cluster.restart()
        stage.close()
