"""Tests of the classification of Kafka client errors: transient, fenced, or fatal."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from tidemill.engine.errors import Fatal, Fenced, Retryable
from tidemill.engine.kafka.errors import TransactionAborted, translate


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (KafkaError._TRANSPORT, Retryable),
        (KafkaError.NOT_LEADER_FOR_PARTITION, Retryable),
        (KafkaError.FENCED_LEADER_EPOCH, Retryable),
        (KafkaError.UNKNOWN_LEADER_EPOCH, Retryable),
        (KafkaError.OFFSET_NOT_AVAILABLE, Retryable),
        (KafkaError.NOT_ENOUGH_REPLICAS, Retryable),
        (KafkaError.CONCURRENT_TRANSACTIONS, Retryable),
        (KafkaError.PRODUCER_FENCED, Fenced),
        (KafkaError._FENCED, Fenced),
        (KafkaError.ILLEGAL_GENERATION, TransactionAborted),
        (KafkaError.UNKNOWN_MEMBER_ID, Fenced),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Fatal),
        (KafkaError.TOPIC_EXCEPTION, Fatal),
    ],
)
def test_codes_by_what_they_mean(code: int, meaning: type[Exception]) -> None:
    told = translate(KafkaException(KafkaError(code)), "do something")
    assert type(told) is meaning
    assert str(told).startswith("could not do something: ")
