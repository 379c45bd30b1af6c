"""What an error of the Kafka client means for the caller, as one of the engine's own errors."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from ..errors import Fatal, Fenced, Retryable, TidemillError

__all__ = ["OffsetGone", "TooLarge", "TransactionAborted", "error_of", "explain", "translate"]

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError._FATAL,  # what every call says after the first that told of being fenced
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)
LOST_MEMBERSHIP = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS}
)
HOPELESS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
PASSING = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._NOENT,  # "no leaders found": the partition was made a moment ago
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.LISTENER_NOT_FOUND,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.CONCURRENT_TRANSACTIONS,
    }
)
"""Brokers come and go, and partitions get other leaders. The Java client retries the same (its `RetriableException`s);
librdkafka's `retriable()` is true for a few of them only, and for none in the answers to an admin request."""
TOO_LARGE = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
    }
)


class TransactionAborted(Fatal):
    """The transaction cannot be committed; the producer is fine. Abort, rewind, go on."""


class OffsetGone(Fatal):
    """The records that are to be read next are not in the topic any more."""

    def __init__(self, text: str, topic: str) -> None:
        super().__init__(text)
        self.topic = topic


class TooLarge(Fatal):
    """A record is larger than the client or the topic takes."""


def error_of(failure: BaseException) -> KafkaError | None:
    """The KafkaError inside an exception of the client."""
    if isinstance(failure, KafkaException) and failure.args and isinstance(failure.args[0], KafkaError):
        return failure.args[0]
    return None


def explain(error: KafkaError) -> str:
    """Name and text of an error, in one line."""
    return f"{error.name()}: {error.str()}"


def translate(failure: BaseException, doing: str) -> TidemillError:
    """The engine's error for a failure of the client while it was `doing` something.

    A fenced producer may answer without its fatal flag, and an error that asks for an abort may also be about lost
    membership: fencing is looked for first, then what an abort mends.
    """
    error = error_of(failure)
    if error is None:
        return Fatal(f"could not {doing}: {failure}")
    text = f"could not {doing}: {explain(error)}"
    code = error.code()
    if code in FENCED:
        return Fenced(text)
    if code in LOST_MEMBERSHIP:
        return TransactionAborted(text)
    if code in TOO_LARGE:
        return TooLarge(text)
    if code in HOPELESS:
        return Fatal(text)
    if error.fatal():
        return Fenced(text)
    if error.txn_requires_abort():
        return TransactionAborted(text)
    if error.retriable() or code in PASSING:
        return Retryable(text)
    return Fatal(text)
