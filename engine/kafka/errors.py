"""What an error of the Kafka client means for the caller, as one of the engine's own errors.

Every call of the client is made in one of two ways, by whether it may be made again:

    with asking("list the topics"): ...            it has no effect that counts: what passes is Retryable
    with acting("commit the transaction"): ...     it has, or may have: what passes is Unsettled, never Retryable
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from ..errors import Fatal, Fenced, Retryable, TidemillError, Unsettled

__all__ = [
    "CLIENT_FAILURES",
    "OffsetGone",
    "TopicMissing",
    "TransactionAborted",
    "acting",
    "asking",
    "error_of",
    "explain",
    "translate",
]

CLIENT_FAILURES = (KafkaException, SystemError)
"""What the client raises. It tells of being fenced by an exception in the midst of a call that also serves delivery
reports; called with that exception set, they end in a SystemError that has it as its cause, or none."""

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError._FATAL,  # what every call says after the first that told of being fenced
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNKNOWN_MEMBER_ID,  # the group has taken this member out: its tasks are others'
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)
STALE = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS})
"""The group is in another generation: the next one's offsets are taken again."""
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
MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


class TransactionAborted(Fatal):
    """The transaction cannot be committed; the producer is fine. Abort, rewind, go on."""


class OffsetGone(Fatal):
    """The records that are to be read next are not in the topic any more."""

    def __init__(self, text: str, topic: str) -> None:
        super().__init__(text)
        self.topic = topic


class TopicMissing(TransactionAborted):
    """A topic that was written to does not exist, or not any more."""


def error_of(failure: BaseException) -> KafkaError | None:
    """The KafkaError inside an exception of the client."""
    while isinstance(failure, SystemError) and failure.__cause__ is not None:
        failure = failure.__cause__
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
    if error is None and isinstance(failure, SystemError):
        return Fenced(f"could not {doing}: the Kafka client failed, as it does when it is fenced ({failure})")
    if error is None:
        return Fatal(f"could not {doing}: {failure}")
    text = f"could not {doing}: {explain(error)}"
    code = error.code()
    if code in FENCED:
        return Fenced(text)
    if code in STALE:
        return TransactionAborted(text)
    if code in HOPELESS:
        return Fatal(text)
    if error.fatal():
        return Fenced(text)
    if error.txn_requires_abort():
        return TopicMissing(text) if code in MISSING else TransactionAborted(text)
    if error.retriable() or code in PASSING:
        return Retryable(text)
    return Fatal(text)


class asking:  # noqa: N801
    """Around calls of the client that may be made again after a failure that passes."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if isinstance(failure, CLIENT_FAILURES):
            raise translate(failure, self._doing) from failure


class acting:  # noqa: N801
    """Around work that must not be done again from where it failed; a failure that passes is Unsettled. `explain` may
    know a better word for what is told."""

    __slots__ = ("_doing", "_explain")

    def __init__(self, doing: str, explain: Callable[[TidemillError], TidemillError] | None = None) -> None:
        self._doing = doing
        self._explain = explain

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if failure is None:
            return
        told = failure
        if isinstance(failure, CLIENT_FAILURES):
            told = translate(failure, self._doing)
            told.__cause__ = failure
        if isinstance(told, TidemillError) and self._explain is not None:
            told = self._explain(told)
        if isinstance(told, Retryable):
            told = Unsettled(str(told))
        if told is not failure:
            raise told from failure
