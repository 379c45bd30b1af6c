"""Records that Kafka or its client does not take for what they are: which answers mean that, and what to do about it.

Trying again would not help, and neither would another broker. Whose record it was, and what the policy says to that, is
for the caller to find out.
"""

from __future__ import annotations

from confluent_kafka import KafkaError

from ...operators.record import Row
from .errors import explain

__all__ = ["REFUSALS", "refusal"]

TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
REFUSALS = TOO_LARGE | {
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._INVALID_DIFFERENT_RECORD,  # its batch was refused because of another record in it
}
ADVICE = {
    KafkaError.INVALID_TIMESTAMP: (
        "its event time is further from the broker's clock than the topic allows. Correct the time, or let the topic "
        "take it: kafka-configs --alter --entity-type topics --entity-name {topic} --add-config "
        "message.timestamp.after.max.ms=9223372036854775807,message.timestamp.before.max.ms=9223372036854775807"
    ),
    KafkaError.INVALID_RECORD: (
        "the broker holds it for invalid, as it does a record without a key in a compacted topic, or one that the "
        "topic's schema does not allow"
    ),
    KafkaError.POLICY_VIOLATION: "a policy of the brokers does not allow it",
    KafkaError.TOPIC_EXCEPTION: "this cannot be the name of a topic",
    KafkaError._UNKNOWN_PARTITION: "the topic has no such partition",
}


def refusal(error: KafkaError, topic: str, row: Row | None) -> str:
    """Why a record was refused and what to do; `row` is given where it is certain which one it was."""
    name = f"topic {topic!r}" if topic else "one of the output topics"
    code = error.code()
    if code in TOO_LARGE:
        size = "" if row is None else f" of {len(row[0] or b'') + len(row[1] or b''):,} bytes"
        return (
            f"a record{size} for {name} is larger than is allowed. Make the value smaller, or raise the topic's "
            "max.message.bytes on the broker and message.max.bytes here (-X message.max.bytes=...)"
        )
    advice = ADVICE.get(code)
    partition = f", partition {row[4]}" if row is not None and code == KafkaError._UNKNOWN_PARTITION else ""
    return f"{name}{partition} does not take a record ({explain(error)})" + (
        f": {advice.format(topic=topic)}" if advice else ""
    )
