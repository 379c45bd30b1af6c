"""Records that Kafka or its client rejects: which errors mean that, and what to do about it.

A retry would not help, and neither would another broker. The caller determines which step wrote the record, and applies
its policy.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from ...operators.record import Row
from .errors import error_of, explain

__all__ = ["NOT_TAKEN", "REFUSALS", "not_taken", "rejection"]

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
REFUSALS = TOO_LARGE | {
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._INVALID_DIFFERENT_RECORD,  # its batch was refused because of another record in it
}
NOT_TAKEN = (KafkaException, TypeError, ValueError, OverflowError)
"""What the client raises for a record that it rejects; a KafkaException may also have another reason."""
ADVICE = {
    KafkaError.INVALID_TIMESTAMP: (
        "its event time is further from the broker's clock than the topic allows. Correct the time, or let the topic "
        "accept it: kafka-configs --alter --entity-type topics --entity-name {topic} --add-config "
        "message.timestamp.after.max.ms=9223372036854775807,message.timestamp.before.max.ms=9223372036854775807"
    ),
    KafkaError.INVALID_RECORD: (
        "the broker considers it invalid, for example because it has no key in a compacted topic, or because the "
        "topic's schema does not allow it"
    ),
    KafkaError.POLICY_VIOLATION: "a policy of the brokers does not allow it",
    KafkaError.TOPIC_EXCEPTION: "this is not a legal topic name",
    KafkaError._UNKNOWN_PARTITION: "the topic has no such partition",
}


def rejection(error: KafkaError, topic: str, row: Row | None) -> str:
    """Return why a record was rejected and what to do; `row` is None if it is unknown."""
    name = f"topic {topic!r}" if topic else "one of the output topics"
    code = error.code()
    if code in TOO_LARGE:
        size = "" if row is None else f" of {len(row[0] or b'') + len(row[1] or b''):,} bytes"
        return (
            f"a record{size} for {name} is larger than allowed. Make the value smaller, or raise the topic's "
            "max.message.bytes on the broker and message.max.bytes here (-X message.max.bytes=...)"
        )
    advice = ADVICE.get(code)
    partition = f", partition {row[4]}" if row is not None and code == KafkaError._UNKNOWN_PARTITION else ""
    return f"{name}{partition} does not accept a record ({explain(error)})" + (
        f": {advice.format(topic=topic)}" if advice else ""
    )


def not_taken(failure: Exception, topic: str, row: Row) -> str:
    """Return why the client rejects a record; raise the failure if it has another reason."""
    if not isinstance(failure, KafkaException):
        return f"topic {topic!r} cannot take such a record: {failure}"
    error = error_of(failure)
    if error is None or error.code() not in REFUSALS:
        raise failure
    return rejection(error, topic, row)
