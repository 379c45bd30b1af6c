"""Translation of the Kafka client's errors to the engine's own.

Every call of the client is made in one of two ways, depending on whether it may be repeated:

    with asking("list the topics"): ...            no effect that matters: a transient error is Retryable
    with acting("commit the transaction"): ...     a possible effect: it is CommitOutcomeUnknown, never Retryable
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from ..errors import CommitOutcomeUnknown, Fatal, Fenced, Retryable, TidemillError

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
"""The exceptions that the client raises. It reports fencing by an exception in the middle of a call that also serves
delivery reports; their callbacks, called with that exception set, end in a SystemError that has it as its cause, or has
none."""

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError._FATAL,  # the error of every call after the first that reported fencing
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNKNOWN_MEMBER_ID,  # the group has removed this member: its tasks belong to others
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)
STALE = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS})
"""The group is in another generation: the transaction is aborted, and its work repeated in the next one."""
FATAL_CODES = frozenset(
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
        KafkaError._NOENT,  # "no leaders found": the partition was just created
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
"""Transient errors: brokers come and go, and partitions get other leaders. The Java client retries the same (its
`RetriableException`s); librdkafka's `retriable()` is true for a few of them only, and for none in responses to admin
requests."""
MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


class TransactionAborted(Fatal):
    """The transaction cannot be committed, but the producer is usable. Abort, rewind, continue."""


class OffsetGone(Fatal):
    """The next records to read are not in the topic any more."""

    def __init__(self, text: str, topic: str) -> None:
        super().__init__(text)
        self.topic = topic


class TopicMissing(TransactionAborted):
    """A topic that was written to does not exist, or not any more."""


def error_of(failure: BaseException) -> KafkaError | None:
    """Return the KafkaError inside an exception of the client."""
    while isinstance(failure, SystemError) and failure.__cause__ is not None:
        failure = failure.__cause__
    if isinstance(failure, KafkaException) and failure.args and isinstance(failure.args[0], KafkaError):
        return failure.args[0]
    return None


def explain(error: KafkaError) -> str:
    """Return name and text of an error, in one line."""
    return f"{error.name()}: {error.str()}"


def translate(failure: BaseException, doing: str) -> TidemillError:
    """Return the engine's error for a failure of the client while `doing` something.

    A fenced producer may answer without its fatal flag, and an error that requires an abort may also mean lost
    membership: fencing is checked first, then errors that an abort resolves.
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
    if code in FATAL_CODES:
        return Fatal(text)
    if error.fatal():
        return Fenced(text)
    if error.txn_requires_abort():
        return TopicMissing(text) if code in MISSING else TransactionAborted(text)
    if error.retriable() or code in PASSING:
        return Retryable(text)
    return Fatal(text)


class asking:  # noqa: N801
    """Context of client calls that may be repeated after a transient error."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if isinstance(failure, CLIENT_FAILURES):
            raise translate(failure, self._doing) from failure


class acting:  # noqa: N801
    """Context of work that must not be repeated from where it failed.

    A transient error becomes CommitOutcomeUnknown. `explain` may return a more specific error.
    """

    __slots__ = ("_doing", "_explain")

    def __init__(self, doing: str, explain: Callable[[TidemillError], TidemillError] | None = None) -> None:
        self._doing = doing
        self._explain = explain

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if failure is None:
            return
        explained = failure
        if isinstance(failure, CLIENT_FAILURES):
            explained = translate(failure, self._doing)
            explained.__cause__ = failure
        if isinstance(explained, TidemillError) and self._explain is not None:
            explained = self._explain(explained)
        if isinstance(explained, Retryable):
            explained = CommitOutcomeUnknown(str(explained))
        if explained is not failure:
            raise explained from failure
