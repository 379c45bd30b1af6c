"""Tests of the errors of all Kafka client calls: each is translated to an error of the engine, which is never
`Retryable` if the call may have taken effect."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.errors import CommitOutcomeUnknown, Fatal, Fenced, RecordRejected, Retryable, TidemillError
from tidemill.engine.kafka import producer
from tidemill.engine.kafka.errors import TopicMissing, TransactionAborted
from tidemill.engine.kafka.producer import KafkaProducer, PlainProducer, TransactionalProducer
from tidemill.operators.record import Outgoing, Record

ROWS = [Outgoing("out", [(b"k", b"v", 1, None, -1), (b"k", b"v", 1, None, b"k")], [Record("k", "v", 1)] * 2, "to")]
CODES = sorted({code for name in dir(KafkaError) if type(code := getattr(KafkaError, name)) is int})


class Client:
    """A client with injected failures of calls and deliveries."""

    def __init__(self, failing: str, failure: Exception, undelivered: KafkaError | None = None) -> None:
        self.failing = failing
        self.failure = failure
        self.undelivered = undelivered
        self.reports: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name == self.failing:

            def fail(*_: Any) -> Any:
                raise self.failure

            return fail
        return lambda *_: 0

    def produce(self, topic: str, value: Any, key: Any, partition: Any, report: Any, *_: Any) -> None:
        if self.failing == "produce":
            raise self.failure
        self.reports.append((report, SimpleNamespace(topic=lambda: topic, partition=lambda: 0, key=lambda: key)))

    def poll(self, _seconds: float) -> int:
        served, self.reports = self.reports, []
        for report, message in served:
            if report is not None and self.undelivered is not None:
                report(self.undelivered, message)
        if self.failing == "poll":
            raise self.failure
        return len(served)

    def flush(self, _seconds: float) -> int:
        if self.failing == "flush":
            raise self.failure
        return self.poll(0)

    def list_topics(self, topic: str, _timeout: float) -> Any:
        if self.failing == "list_topics":
            raise self.failure
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})


def failures() -> st.SearchStrategy[Exception]:
    def made(code: int, fatal: bool, retriable: bool, abort: bool, how: str) -> Exception:
        failure = KafkaException(KafkaError(code, "because", fatal, retriable, abort))
        if how == "plain":
            return failure
        wrapped = SystemError("<function> returned a result with an exception set")
        if how == "in a callback":
            wrapped.__cause__ = failure
        return wrapped

    kinds = st.sampled_from(["plain", "plain", "in a callback", "without a cause"])
    return st.builds(made, st.sampled_from(CODES), st.booleans(), st.booleans(), st.booleans(), kinds)


def errors() -> st.SearchStrategy[KafkaError | None]:
    flag = st.booleans()
    made = st.builds(lambda code, *flags: KafkaError(code, "because", *flags), st.sampled_from(CODES), flag, flag, flag)
    return st.none() | made


REPEATABLE: dict[str, Callable[[Any], object]] = {
    "init": lambda one: one.init(1),
    "abort": lambda one: one.abort(1),
    "learn": lambda one: one.counts.learn(["out"]),
}
NOT_REPEATABLE: dict[str, Callable[[Any], object]] = {
    "produce": lambda one: one.produce(ROWS),
    "one by one": lambda one: one.produce(ROWS, one_by_one=True),
    "changelog": lambda one: one.changelog("log", 0, [(b"k", b"v", None)]),
    "poll": lambda one: one.poll(),
    "flush": lambda one: one.flush(1) if isinstance(one, PlainProducer) else None,
    "offsets": lambda one: one.send_offsets({("in", 0): (1, "")}, b"", 1) if one.__class__ is not PlainProducer else 0,
    "commit": lambda one: one.commit(1) if isinstance(one, TransactionalProducer) else None,
}
CALLS = ("produce", "poll", "flush", "list_topics", "purge", "init_transactions", "begin_transaction")
CALLS += ("send_offsets_to_transaction", "commit_transaction", "abort_transaction")


def made(client: Client, kind: type[KafkaProducer], reports: bool = True) -> Any:
    before, producer.Producer = producer.Producer, lambda _options: client
    try:
        one = TransactionalProducer({}, "id") if kind is TransactionalProducer else PlainProducer({})
    finally:
        producer.Producer = before
    if reports and isinstance(one, TransactionalProducer):
        failing, client.failing = client.failing, ""
        one.begin()
        one.abort(1)
        client.failing = failing
    return one


@pytest.mark.parametrize("kind", [PlainProducer, TransactionalProducer])
@given(
    st.sampled_from(CALLS),
    failures(),
    errors(),
    st.lists(st.sampled_from([*NOT_REPEATABLE, *REPEATABLE]), min_size=1, max_size=4),
    st.booleans(),
)
@examples(150)
def test_no_call_that_may_have_taken_effect_is_retryable(
    kind: type[KafkaProducer], failing: str, failure: Exception, undelivered: Any, steps: list[str], reports: bool
) -> None:
    one = made(Client(failing, failure, undelivered), kind, reports)
    for step in steps:
        if kind is PlainProducer and step in ("init", "abort"):
            continue
        told: TidemillError | None = None
        try:
            (NOT_REPEATABLE | REPEATABLE)[step](one)
        except TidemillError as failed:
            told = failed
        assert step in REPEATABLE or not isinstance(told, Retryable), (step, told)
    one.close()


def raised(client: Client, kind: type[KafkaProducer], step: Callable[[Any], object]) -> TidemillError:
    with pytest.raises(TidemillError) as caught:
        step(made(client, kind))
    return caught.value


@pytest.mark.parametrize("kind", [PlainProducer, TransactionalProducer])
@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (KafkaError.INVALID_TIMESTAMP, RecordRejected),
        (KafkaError.INVALID_RECORD, RecordRejected),
        (KafkaError.POLICY_VIOLATION, RecordRejected),
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordRejected),
        (KafkaError._UNKNOWN_PARTITION, RecordRejected),
        (KafkaError.TOPIC_EXCEPTION, RecordRejected),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicMissing),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Fatal),
        (KafkaError.NOT_ENOUGH_REPLICAS, CommitOutcomeUnknown),
    ],
)
def test_a_record_that_is_not_delivered_is_named_with_its_topic(
    kind: type[KafkaProducer], code: int, meaning: type[Exception]
) -> None:
    told = raised(Client("", ValueError(), KafkaError(code)), kind, lambda one: one.produce(ROWS))
    assert type(told) is meaning
    assert "topic 'out'" in str(told)
    if isinstance(told, RecordRejected):
        assert told.topic == "out"
        single = raised(Client("", ValueError(), KafkaError(code)), kind, NOT_REPEATABLE["one by one"])
        assert isinstance(single, RecordRejected)
        assert single.row == (ROWS[0], 0)


@pytest.mark.parametrize("failure", [TypeError("a float"), OverflowError("int too big"), ValueError("no such thing")])
def test_a_record_that_the_client_refuses_is_returned_and_the_rest_is_written(failure: Exception) -> None:
    one = made(Client("produce", failure), PlainProducer)
    assert [refused.row for refused in one.produce(ROWS)] == [(ROWS[0], 0), (ROWS[0], 1)]


@pytest.mark.parametrize("kind", [PlainProducer, TransactionalProducer])
@pytest.mark.parametrize("failure", [KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), ValueError("no such")])
def test_state_that_the_client_refuses_is_named_with_its_changelog(
    kind: type[KafkaProducer], failure: Exception
) -> None:
    told = raised(Client("produce", failure), kind, NOT_REPEATABLE["changelog"])
    assert isinstance(told, RecordRejected)
    assert told.topic == "log"
    assert "topic 'log'" in str(told)


def test_a_transaction_that_timed_out_is_not_reported_as_fenced() -> None:
    fenced = KafkaException(KafkaError(KafkaError._FENCED, "fenced by a newer instance", True))
    client = Client("commit_transaction", fenced)
    one = made(client, TransactionalProducer)
    one.begin()
    with pytest.raises(Fenced):
        one.commit(1)
    one._now = lambda: one._began + 61
    with pytest.raises(CommitOutcomeUnknown, match=r"open for 61 s.*transaction_timeout \(60 s\)"):
        one.commit(1)


def test_a_transaction_that_failed_in_the_background_is_aborted() -> None:
    client = Client("produce", KafkaException(KafkaError(KafkaError._STATE)))
    assert isinstance(raised(client, TransactionalProducer, NOT_REPEATABLE["produce"]), TransactionAborted)
