"""The engine's view of the consumer matches the real client: pauses, rewinds, reassigned partitions."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import Fatal
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.kafka.options import consumer_options

pytestmark = pytest.mark.broker
COUNT = 200


@pytest.fixture
def reader(kafka: Kafka, app_id: str) -> Iterator[InputConsumer]:
    """A consumer of a topic with two partitions and a backlog; the topic has the name of the application."""
    client.create_topic(kafka.bootstrap, app_id, 2)
    client.produce(kafka.bootstrap, app_id, [(b"%d" % n, bytes(500)) for n in range(2 * COUNT)])
    consumer = InputConsumer(consumer_options(Settings(app_id=app_id, broker=kafka.bootstrap), 2))
    consumer.assign({(app_id, 0): 0, (app_id, 1): 0})
    yield consumer
    consumer.close()


def read(reader: InputConsumer, partition: int, seconds: float = 10.0) -> list[int]:
    """Read a partition until there are records, and return their offsets."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for batch in reader.poll(10, 0.1).batches:
            if batch.partition == partition:
                return batch.offsets
    return []


def test_a_paused_partition_is_read_again_after_a_rewind(reader: InputConsumer, app_id: str) -> None:
    both = {(app_id, 0), (app_id, 1)}
    assert read(reader, 0)
    for _ in range(3):
        reader.pause(both)
        assert reader.paused == both
        reader.rewind({(app_id, 0): 0})
        assert reader.paused == both - {(app_id, 0)}
        assert read(reader, 0)[0] == 0
        reader.resume([(app_id, 1)])
        assert read(reader, 1)


def test_a_paused_partition_is_read_when_it_is_assigned_again(reader: InputConsumer, app_id: str) -> None:
    assert read(reader, 1)
    reader.pause([(app_id, 1)])
    reader.unassign([(app_id, 1)])
    assert not read(reader, 1, 0.5)
    assert not reader.paused
    reader.assign({(app_id, 1): 5})
    assert read(reader, 1)[0] == 5


def test_a_rewind_ends_a_pause_that_was_forgotten(reader: InputConsumer, app_id: str) -> None:
    assert read(reader, 0)
    reader.pause([(app_id, 0)])
    reader._paused.clear()
    reader.rewind({(app_id, 0): 3})
    assert read(reader, 0)[0] == 3


def test_an_error_of_the_client_names_the_partition(reader: InputConsumer, app_id: str) -> None:
    with pytest.raises(Fatal, match=rf"could not read topic '{app_id}', partition 1: .*"):
        reader.assign({(app_id, 1): 0})
    with pytest.raises(Fatal, match=r"could not stop reading topic 'unknown', partition 7: .*"):
        reader.unassign([("unknown", 7)])


def test_a_new_client_continues_at_the_given_positions_paused_or_not(reader: InputConsumer, app_id: str) -> None:
    assert read(reader, 0)
    reader.pause([(app_id, 1)])
    reader.replace({(app_id, 0): 7, (app_id, 1): 9})
    assert not reader.paused
    assert read(reader, 0)[0] == 7
    reader.rewind({(app_id, 1): 9})
    assert read(reader, 1)[0] == 9
