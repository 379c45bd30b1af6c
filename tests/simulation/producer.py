"""A simulated librdkafka producer for the in-memory Kafka: a queue that is sent in the background, and its states.

    READY --begin--> OPEN --commit, abort--> READY
              OPEN --a delivery or offsets refused--> ABORTABLE --abort--> READY
              any --a newer producer of the same id--> FATAL: raised once by poll, then by every call

Errors have the codes and flags that were observed with the library: after a fatal error `produce` raises `_FATAL`
without the flag, and after an abortable one `_STATE`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

from confluent_kafka import KafkaError, KafkaException

from tidemill.engine.kafka.murmur2 import murmur2_partition

from .broker import Broker, Unreachable
from .log import GROUP, Fenced, Refused, Transaction
from .world import EPOCH, Owner, World

__all__ = ["Delivered", "SimulatedProducer"]

Report = Callable[[Any, Any], Any]
LINGER_MS = 8
RETRY_MS = 5
CONCURRENT = 51
FLUSH_MS = 1_000
"""How long a flush waits for an unavailable broker; less than in the library, to save turns."""


class Queued(NamedTuple):
    """A record in the queue."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]] | None
    report: Report | None


class Delivered:
    """The message that a delivery callback receives."""

    __slots__ = ("_offset", "_row")

    def __init__(self, row: Queued, offset: int) -> None:
        self._row = row
        self._offset = offset

    def topic(self) -> str:
        return self._row.topic

    def partition(self) -> int:
        return self._row.partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._row.key

    def value(self) -> bytes | None:
        return self._row.value


class SimulatedProducer:
    """A producer of a process."""

    def __init__(self, world: World, broker: Broker, owner: Owner, options: dict[str, Any], failures: float) -> None:
        """`failures`: the probability that a background send is refused permanently."""
        self._world = world
        self._broker = broker
        self._owner = owner
        self._name: str | None = options.get("transactional.id")
        self._failures = failures
        self._identity = (-1, -1)
        self._queue: list[Queued] = []
        self._reports: list[tuple[Report, KafkaError | None, Delivered]] = []
        self._transaction: Transaction | None = None
        self._added: set[tuple[str, int]] = set()
        self._state = "ready"
        self._error: KafkaError | None = None
        self._told = False
        self._scheduled = False

    # Interface to the engine

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        report: Report | None,
        _: None,
        timestamp: int,
        headers: list[tuple[str, bytes]] | None,
    ) -> None:
        if self._state == "fatal":
            raise failure(KafkaError._FATAL, "Unable to produce message: Local: Fatal error")
        if self._name is not None and self._state != "open":
            raise failure(KafkaError._STATE, "Unable to produce message: Local: Erroneous state")
        if partition < 0:
            count = len(self._broker.topics[topic])
            partition = self._world.random.randrange(count) if key is None else murmur2_partition(key, count)
        if len(self._queue) >= self._broker.network.room:
            raise BufferError("Local: Queue full")
        at = timestamp or EPOCH + self._world.now
        self._queue.append(Queued(topic, partition, key, value, at, headers, report))
        if not self._scheduled:
            self._scheduled = True
            self._world.later(self._world.random.randint(0, LINGER_MS), self._in_background)

    def poll(self, timeout: float) -> int:
        if timeout > 0:
            self._world.wait(lambda: bool(self._reports), int(timeout * 1000))
        try:
            self._tell()
        except KafkaException as failure:
            if self._reports:  # they are called with this exception set
                raise SystemError("<built-in method> returned a result with an exception set") from failure
            raise
        served, self._reports = self._reports, []
        for report, error, message in served:
            report(error, message)
        return len(served)

    def flush(self, timeout: float) -> int:
        self._world.pause("flush")
        end = self._world.now + min(FLUSH_MS, int(timeout * 1000))
        while self._queue and self._state not in ("fatal", "abortable"):
            if not self._send(len(self._queue)):
                if self._world.now >= end:
                    break
                self._world.wait(None, RETRY_MS)
        self.poll(0)
        return len(self._queue)

    def purge(self) -> None:
        self._in_flight()
        self._queue.clear()

    def list_topics(self, topic: str, timeout: float) -> Any:
        partitions = dict.fromkeys(range(len(self._broker.topics[topic])))
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=partitions)})

    def init_transactions(self, timeout: float) -> None:
        end = self._world.now + int(timeout * 1000)
        while True:
            try:
                self._identity = self._call("init", lambda: self._broker.transactions.init(self._name or ""))
                return
            except Unreachable as lost:
                if self._world.random.random() < 0.3:
                    raise failure(KafkaError._TIMED_OUT, str(lost), retriable=True) from lost
            except Refused as refused:
                if refused.code != CONCURRENT:
                    raise
                self._world.wait(None, RETRY_MS)
            if self._world.now > end:
                raise failure(KafkaError._TIMED_OUT, "init", retriable=True)

    def begin_transaction(self) -> None:
        self._check()
        assert self._state == "ready", "a transaction is begun twice"
        self._state, self._transaction = "open", None
        self._added.clear()

    def send_offsets_to_transaction(self, positions: Sequence[Any], group: bytes, timeout: float) -> None:
        self._check()
        member = member_of(group)
        # The library also writes the terminating zero byte of the text.
        offsets = {(p.topic, p.partition): (p.offset, f"{p.metadata or ''}\0") for p in positions}
        self._settled("add offsets", lambda: self._add(GROUP))
        code = self._settled(
            "send offsets", lambda: self._broker.commit_in(self._name or "", self._identity, member, offsets)
        )
        if code:
            self._abortable(code, "offsets refused")
            self._check()

    def commit_transaction(self, timeout: float) -> None:
        self._check()
        self.flush(timeout)
        self._check()
        if self._queue:
            raise failure(KafkaError._TIMED_OUT, "records are not delivered", retriable=True)
        self._end(commit=True)

    def abort_transaction(self, timeout: float) -> None:
        if self._state == "fatal":
            self._check()
        self.purge()
        self._end(commit=False)
        self._error = None

    # Internals

    def _end(self, *, commit: bool) -> None:
        if self._added:
            self._settled(
                "commit" if commit else "abort",
                lambda: self._broker.transactions.end(self._name or "", self._identity, commit=commit),
            )
        self._state, self._transaction = "ready", None
        self._added.clear()

    def _settled(self, what: str, effect: Callable[[], Any]) -> Any:
        """Send a request of the transaction, and retry while an earlier transaction is ending."""
        while True:
            try:
                return self._call(what, effect)
            except Unreachable as lost:
                raise failure(KafkaError._TIMED_OUT, str(lost), retriable=True) from lost
            except Fenced:
                self._fatal()
            except Refused as refused:
                if refused.code != CONCURRENT:
                    self._fatal()
                else:
                    self._world.wait(None, RETRY_MS)

    def _call(self, what: str, effect: Callable[[], Any]) -> Any:
        return self._broker.call(self._owner.name, what, effect)

    def _add(self, key: tuple[str, int]) -> None:
        self._transaction = self._broker.transactions.add(self._name or "", self._identity, key)
        self._added.add(key)

    def _in_background(self) -> None:
        """Send a part of the queue, as the background thread of the library does."""
        self._scheduled = False
        if not self._owner.alive or not self._queue or self._state in ("fatal", "abortable"):
            return
        chance = self._world.random
        if not self._owner.frozen:
            if chance.random() < self._failures and self._name is not None:
                self._queue.clear()
                self._abortable(KafkaError._MSG_TIMED_OUT, "a record was not delivered in time")
                return
            self._send(chance.randint(1, len(self._queue)))
        if self._queue:
            self._scheduled = True
            self._world.later(chance.randint(1, 4 * LINGER_MS), self._in_background)

    def _send(self, count: int) -> bool:
        """Send the first records of the queue, all or none; return False if this must be retried."""
        if not self._broker.reachable(self._owner.name):
            return False
        sent, self._queue = self._queue[:count], self._queue[count:]
        bad = {(row.topic, row.partition) for row in sent if self._broker.refuses(row.topic, row.key, row.value)}
        for at, row in enumerate(sent):
            key = (row.topic, row.partition)
            if key in bad:
                self._refuse(row)
                continue
            try:
                if self._name is not None and key not in self._added:
                    self._add(key)
                offset = self._append(self._transaction, row)
            except Refused as refused:
                if refused.code == CONCURRENT:
                    self._queue[:0] = sent[at:]
                    return False
                self._fail()
                return True
            if row.report is not None:
                self._reports.append((row.report, None, Delivered(row, offset)))
        self._world.note(self._owner.name, "sent", len(sent))
        return True

    def _refuse(self, row: Queued) -> None:
        """Refuse a whole batch because of one record."""
        if self._name is not None:
            self._queue.clear()
            self._abortable(KafkaError.INVALID_TIMESTAMP, "Broker: Invalid timestamp")
        if row.report is not None:
            error = KafkaError(KafkaError.INVALID_TIMESTAMP, "Broker: Invalid timestamp")
            self._reports.append((row.report, error, Delivered(row, -1)))

    def _append(self, transaction: Transaction | None, row: Queued) -> int:
        key = (row.topic, row.partition)
        return self._broker.produce(transaction, key, [row[2:6]])

    def _in_flight(self) -> None:
        """Let batches without a response arrive later, even after the producer has ended."""
        if self._name is None or (self._queue and self._state == "open"):
            chance = self._world.random
            rows = self._queue[: chance.randint(0, len(self._queue))]
            transaction, added = self._transaction, set(self._added)

            def arrive() -> None:
                for row in rows:
                    if self._name is not None and (row.topic, row.partition) not in added:
                        return
                    if self._broker.refuses(row.topic, row.key, row.value):
                        return
                    try:
                        self._append(transaction, row)
                    except Refused:
                        return

            if rows:
                self._world.later(chance.randint(0, 2 * LINGER_MS), arrive)

    def crash(self) -> None:
        """End with the process: only batches in flight may still arrive."""
        if self._broker.reachable(self._owner.name):
            self._in_flight()

    # Errors

    def _abortable(self, code: int, text: str) -> None:
        self._state, self._error = "abortable", KafkaError(code, text, False, False, True)

    def _fail(self) -> None:
        self._state, self._error = "fatal", KafkaError(KafkaError._FENCED, "fenced by a newer producer", True)

    def _fatal(self) -> NoReturn:
        self._fail()
        assert self._error is not None
        raise KafkaException(self._error)

    def _check(self) -> None:
        if self._error is not None:
            raise KafkaException(self._error)

    def _tell(self) -> None:
        if self._state == "fatal" and not self._told:
            self._told = True
            self._check()


def failure(code: int, text: str, *, retriable: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, text, False, retriable))


def member_of(group: bytes) -> tuple[int, str]:
    """Return generation and member id from confluent-kafka's group metadata."""
    head = len(b"CGMDv2:")
    generation = int.from_bytes(group[head : head + 4], "little", signed=True)
    _, member, _ = group[head + 4 :].split(b"\0", 2)
    return generation, member.decode()
