"""Tests that a commit to a deleted topic ends before its timeout."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tidemill.engine.errors import TidemillError
from tidemill.engine.kafka import producer
from tidemill.engine.kafka.errors import TransactionAborted


class Client:
    """A client whose commit always times out."""

    def __init__(self, _options: object) -> None:
        self.waited: list[float] = []
        self.now = 0.0
        self.fatal: Event | None = None

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_named: 0

    def commit_transaction(self, timeout: float) -> None:
        self.waited.append(timeout)
        self.now += timeout
        if self.fatal is not None and self.now >= 3:
            self.fatal.set()
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "", False, True))


@pytest.mark.parametrize("noted", [True, False])
def test_a_commit_ends_when_the_program_cannot_continue(noted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(None)
    monkeypatch.setattr(producer, "Producer", lambda _options: client)
    fatal = Event()
    client.fatal = fatal if noted else None
    made = producer.TransactionalProducer({}, "id", now=lambda: client.now, fatal=fatal)
    made.begin()
    with pytest.raises(TransactionAborted if noted else TidemillError) as caught:
        made.commit(10.0)
    assert isinstance(caught.value, TransactionAborted) is noted
    assert sum(client.waited) == (3 if noted else 10)
    assert max(client.waited) == producer.SLICE_SECONDS
