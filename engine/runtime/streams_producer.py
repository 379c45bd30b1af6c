"""The producer of the current membership epoch, and the checkpointer that commits with it.

Both are created on first use, and discarded when the epoch ends or the outcome of a transaction is unknown: when the
next producer of the same incarnation registers, it ends the open transaction. Creating them may be retried. Writing and
committing may not, and never raise Retryable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from ...operators.record import Outgoing
from ..errors import RecordRejected, TidemillError
from ..ids import TaskId
from ..kafka.producer import KafkaProducer, PlainProducer, TransactionalProducer
from ..tasks.output_topics import OutputTopics
from ..tasks.prepared_commit import PreparedCommit
from .checkpoint import AtLeastOnce, Checkpointer, CommitGroup, CommittedPositions, ExactlyOnce

__all__ = ["ProducerFactory", "StreamsProducer"]

ABORT_SECONDS = 5.0


class ProducerFactory(Protocol):
    """Creates the producer of an incarnation; registers it if it is transactional."""

    def __call__(self, process: str) -> TransactionalProducer | PlainProducer: ...


class StreamsProducer:
    """Writes and commits the output of tasks."""

    def __init__(
        self,
        new_producer: ProducerFactory,
        group: CommitGroup,
        changelog: Callable[[TaskId, str], str | None],
        timeout: float,
        outputs: OutputTopics | None = None,
    ) -> None:
        """Create it; `changelog` returns the topic of a store; `timeout` limits each step in s.

        Without `outputs`, records are written to the topics that the program names.
        """
        self._outputs = outputs
        self._new_producer = new_producer
        self._group = group
        self._changelog = changelog
        self._timeout = timeout
        self._producer: TransactionalProducer | PlainProducer | None = None
        self._checkpointer: Checkpointer | None = None
        self.epoch = -1
        self._process = ""
        self.orphaned = False
        """Whether a discarded producer may have left a transaction open; `ensure` ends it.

        A live member is not fenced by others, so readers would wait for `transaction_timeout`.
        """
        self._counted: frozenset[str] = frozenset()
        """Topics whose partition counts previous producers needed."""

    def begin_epoch(self, epoch: int, process: str) -> None:
        """Start writing as this incarnation. The caller has dropped all work of previous ones."""
        if epoch != self.epoch:
            self.discard(abort=False)
            self.orphaned = False
        self.epoch, self._process = epoch, process

    def ensure(self) -> None:
        """Create the producer if there is none. Raises Retryable if Kafka does not respond.

        Must be called before any work whose output is written.
        """
        if self._producer is None or self._checkpointer is None:
            producer = self._new_producer(self._process)
            if isinstance(producer, TransactionalProducer):
                self._confirm(producer)
                self._checkpointer = ExactlyOnce(producer, self._group, self.epoch, self._changelog, self._timeout)
            else:
                self._checkpointer = AtLeastOnce(producer, self._group, self.epoch, self._changelog, self._timeout)
            self._producer = producer
            self.orphaned = False
        if self._counted:
            self._producer.counts.learn(self._counted)
            self._counted = frozenset()
        self._producer.counts.refresh()

    def _made(self) -> tuple[KafkaProducer, Checkpointer]:
        producer, checkpointer = self._producer, self._checkpointer
        assert producer is not None, "ensure() comes first"
        assert checkpointer is not None, "ensure() comes first"
        return producer, checkpointer

    def _confirm(self, producer: TransactionalProducer) -> None:
        """Check that this process is still a member after the producer was registered.

        A member that takes over after this point fences the producer. If it had taken over before, registering would
        have undone the fencing, and transactions of this producer would block the other member's readers until they
        time out.
        """
        try:
            self._group.confirm(self.epoch, self._timeout)
        except BaseException:
            producer.close()
            raise

    def produce(self, outgoing: Sequence[Outgoing], *, one_by_one: bool = False) -> list[RecordRejected]:
        """See `KafkaProducer.produce`."""
        addressed = outgoing if self._outputs is None else self._outputs.addressed(outgoing)
        return self._made()[0].produce(addressed, one_by_one=one_by_one)

    def poll(self) -> None:
        """Handle delivery reports."""
        if self._producer is not None:
            self._producer.poll()

    @property
    def pending(self) -> bool:
        """Whether there is uncommitted output."""
        return self._checkpointer is not None and self._checkpointer.pending

    @property
    def process(self) -> str:
        """The id of this process in its present epoch."""
        return self._process

    def left(self) -> tuple[float | None, float]:
        """Return when the broker ends the open transaction, in s from now, and its timeout.

        The first is None if none is open, or without transactions.
        """
        producer = self._producer
        return (producer.left(), producer.limit) if isinstance(producer, TransactionalProducer) else (None, 0.0)

    def commit(self, prepared: Sequence[PreparedCommit]) -> CommittedPositions:
        """See `Checkpointer.commit`."""
        return self._made()[1].commit(prepared)

    def abort(self) -> bool:
        """Abort uncommitted output; return whether this producer can continue.

        A producer without transactions cannot: its output may still be delivered.
        """
        if isinstance(self._producer, TransactionalProducer):
            self._producer.abort(self._timeout)
            return True
        return False

    def discard(self, *, abort: bool) -> None:
        """Discard the producer.

        An open transaction is aborted, so that no reader waits for it, or left to the next producer with this id.
        """
        self.orphaned = self.orphaned and not abort
        if self._producer is not None:
            if abort and isinstance(self._producer, TransactionalProducer):
                with suppress(TidemillError):
                    self._producer.abort(ABORT_SECONDS)
            elif isinstance(self._producer, TransactionalProducer):
                self.orphaned = self._producer.open
            self._producer.close()
            self._counted |= self._producer.counts.topics
        self._producer = self._checkpointer = None
