"""A commit that waits for a topic that is gone is not waited for to the end of its time."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tidemill.engine.errors import TidemillError
from tidemill.engine.kafka import producer
from tidemill.engine.kafka.errors import TransactionAborted


class Client:
    """A client whose commit is never done in time."""

    def __init__(self, _options: object) -> None:
        self.waited: list[float] = []
        self.now = 0.0
        self.hopeless: Event | None = None

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_named: 0

    def commit_transaction(self, timeout: float) -> None:
        self.waited.append(timeout)
        self.now += timeout
        if self.hopeless is not None and self.now >= 3:
            self.hopeless.set()
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "", False, True))


@pytest.mark.parametrize("told", [True, False])
def test_a_commit_ends_when_there_is_no_hope(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(None)
    monkeypatch.setattr(producer, "Producer", lambda _options: client)
    hopeless = Event()
    client.hopeless = hopeless if told else None
    made = producer.TransactionalProducer({}, "id", now=lambda: client.now, hopeless=hopeless)
    made.begin()
    with pytest.raises(TransactionAborted if told else TidemillError) as caught:
        made.commit(10.0)
    assert isinstance(caught.value, TransactionAborted) is told
    assert sum(client.waited) == (3 if told else 10)
    assert max(client.waited) == producer.SLICE_SECONDS
