"""Tests of reading all committed offsets of a group, from outside."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tidemill.engine.errors import Fatal, Retryable
from tidemill.engine.group.inspect import GroupInspector
from tidemill.engine.group.offsets import fetch_all_committed
from tidemill.engine.kafka.offset_requests import OffsetFetchResponse, fetch_offsets
from tidemill.engine.kafka.protocol import Broker, ErrorCode

ROW = {("orders", 0): (7, "note\0", 0), ("orders", 1): (-1, "", 0)}


class ScriptedWire:
    """Answers requests from a list; counts how often the coordinator was forgotten."""

    def __init__(self, *answers: OffsetFetchResponse | Retryable) -> None:
        self.answers = deque(answers)
        self.forgotten = 0

    async def coordinator(self, _group: str) -> Broker:
        return Broker("localhost", 9092)

    async def send(self, _broker: Broker, _request: Any, _seconds: float) -> OffsetFetchResponse:
        answer = self.answers.popleft()
        if isinstance(answer, Retryable):
            raise answer
        return answer

    def forget(self, _group: str) -> None:
        self.forgotten += 1


def fetched(wire: Any, *, seconds: float = 60.0) -> dict[tuple[str, int], tuple[int, str]]:
    async def fetch() -> dict[tuple[str, int], tuple[int, str]]:
        return await fetch_all_committed(wire, "g", asyncio.get_running_loop().time() + seconds, stable=True)

    return asyncio.run(fetch())


def test_a_coordinator_that_loads_or_has_moved_is_asked_again() -> None:
    wire = ScriptedWire(
        OffsetFetchResponse(ErrorCode.COORDINATOR_LOADING, {}),
        Retryable("connection lost"),
        OffsetFetchResponse(ErrorCode.NOT_COORDINATOR, {}),
        OffsetFetchResponse(0, dict(ROW)),
    )
    assert fetched(wire) == {("orders", 0): (7, "note")}
    assert wire.forgotten == 3


def test_the_reason_is_given_when_time_is_up() -> None:
    with pytest.raises(Retryable, match=r"in time: COORDINATOR_LOAD_IN_PROGRESS"):
        fetched(ScriptedWire(OffsetFetchResponse(ErrorCode.COORDINATOR_LOADING, {})), seconds=-1)
    with pytest.raises(Retryable, match=r"in time: connection lost"):
        fetched(ScriptedWire(Retryable("connection lost")), seconds=-1)


def test_an_open_transaction_and_other_errors_name_the_partition() -> None:
    unstable = {**ROW, ("orders", 2): (-1, "", int(ErrorCode.UNSTABLE_OFFSETS))}
    with pytest.raises(Retryable, match="commits 'orders' partition 2 is still open"):
        fetched(ScriptedWire(OffsetFetchResponse(0, unstable)))
    with pytest.raises(Fatal, match="'orders' partition 2 could not be read: TOPIC_AUTHORIZATION_FAILED"):
        fetched(ScriptedWire(OffsetFetchResponse(0, {**ROW, ("orders", 2): (-1, "", 29)})))
    with pytest.raises(Fatal, match="group 'g' could not be read"):
        fetched(ScriptedWire(OffsetFetchResponse(30, {})))


def test_the_request_for_all_partitions_has_a_null_array() -> None:
    assert fetch_offsets("g", None, stable=True).body == b"\x02g\x00\x01\x00"
    assert fetch_offsets("g", [], stable=False).body == b"\x02g\x01\x00\x00"


@pytest.mark.slow
def test_on_a_real_broker(kafka: Kafka, topic: Any, app_id: str) -> None:
    name = topic(partitions=2)
    options = {"bootstrap.servers": kafka.bootstrap}
    inspector = GroupInspector(options, options)
    assert inspector.committed(app_id) == {}
    consumer = Consumer({**options, "group.id": app_id})
    consumer.commit(offsets=[KafkaPartition(name, 1, 5, "note")], asynchronous=False)
    assert inspector.committed(app_id, stable=True) == {(name, 1): (5, "note")}
    producer = Producer({**options, "transactional.id": app_id})
    producer.init_transactions(60)
    producer.begin_transaction()
    positions = [KafkaPartition(name, 1, 9)]
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 60)
    with pytest.raises(Retryable, match="partition 1 is still open"):
        inspector.committed(app_id, stable=True)
    producer.commit_transaction(60)
    client.wait_for(lambda: inspector.offsets(app_id) == {(name, 1): 9}, 60, "the offset of the transaction")
    consumer.close()
