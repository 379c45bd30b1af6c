"""The producer of the present epoch of the membership, and the checkpointer that commits with it.

Both are made when they are first needed and thrown away when the epoch ends or a transaction's fate is not known: the
next producer of the same incarnation settles what is open when it registers. To make them is what may be tried again;
writing and committing are not, and never raise Retryable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from ...operators.record import Outgoing
from ..errors import Refused, TidemillError
from ..ids import TaskId
from ..kafka.producer import KafkaProducer, PlainProducer, TransactionalProducer
from ..tasks.prepared_commit import Sealed
from .checkpoint import AtLeastOnce, Checkpointer, ExactlyOnce, Group, Settled

__all__ = ["ProducerFactory", "Writer"]

ABORT_SECONDS = 5.0


class ProducerFactory(Protocol):
    """Makes the producer of an incarnation of this process, and registers it when it is transactional."""

    def __call__(self, process: str) -> TransactionalProducer | PlainProducer: ...


class Writer:
    """Writes and commits what tasks make."""

    def __init__(
        self,
        new_producer: ProducerFactory,
        group: Group,
        changelog: Callable[[TaskId, str], str | None],
        timeout: float,
    ) -> None:
        """`changelog` names the changelog topic of a task's store; `timeout` in seconds bounds a commit's steps."""
        self._new_producer = new_producer
        self._group = group
        self._changelog = changelog
        self._timeout = timeout
        self._producer: TransactionalProducer | PlainProducer | None = None
        self._checkpointer: Checkpointer | None = None
        self.epoch = -1
        self._process = ""
        self.owes = False
        """True while a transaction of this epoch may be open whose producer was thrown away: `ensure` ends it. Nobody
        fences a living member, so readers would wait for `transaction_timeout`."""
        self._counted: frozenset[str] = frozenset()
        """Topics whose partition counts earlier producers needed."""

    def begin_epoch(self, epoch: int, process: str) -> None:
        """From now on this process writes as this incarnation. The caller has dropped the work of any other."""
        if epoch != self.epoch:
            self.discard(abort=False)
            self.owes = False
        self.epoch, self._process = epoch, process

    def ensure(self) -> None:
        """Makes the producer if there is none; Retryable when Kafka does not answer. To be called before any work that
        is to be written."""
        if self._producer is None or self._checkpointer is None:
            producer = self._new_producer(self._process)
            if isinstance(producer, TransactionalProducer):
                self._confirm(producer)
                self._checkpointer = ExactlyOnce(producer, self._group, self.epoch, self._changelog, self._timeout)
            else:
                self._checkpointer = AtLeastOnce(producer, self._group, self.epoch, self._changelog, self._timeout)
            self._producer = producer
            self.owes = False
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
        """Makes sure that we were a member after the producer was registered.

        Who takes over from us fences it then. Had that happened before, registering would have undone it, and what we
        write would block its readers until it times out.
        """
        try:
            self._group.confirm(self.epoch, self._timeout)
        except BaseException:
            producer.close()
            raise

    def produce(self, outgoing: Sequence[Outgoing], *, one_by_one: bool = False) -> list[Refused]:
        """See `KafkaProducer.produce`."""
        return self._made()[0].produce(outgoing, one_by_one=one_by_one)

    def poll(self) -> None:
        """Hears of deliveries."""
        if self._producer is not None:
            self._producer.poll()

    @property
    def pending(self) -> bool:
        """True when outputs wait for a commit."""
        return self._checkpointer is not None and self._checkpointer.pending

    def commit(self, sealed: Sequence[Sealed]) -> Settled:
        """See `Checkpointer.commit`."""
        return self._made()[1].commit(sealed)

    def abort(self) -> bool:
        """Takes back what is not committed, and says whether this producer can go on. Without transactions it cannot:
        what it was given may be delivered yet."""
        if isinstance(self._producer, TransactionalProducer):
            self._producer.abort(self._timeout)
            return True
        return False

    def discard(self, *, abort: bool) -> None:
        """Throws the producer away. What it has open is aborted, so that no reader waits for it, or left to whoever
        registers its id next."""
        self.owes = self.owes and not abort
        if self._producer is not None:
            if abort and isinstance(self._producer, TransactionalProducer):
                with suppress(TidemillError):
                    self._producer.abort(ABORT_SECONDS)
            elif isinstance(self._producer, TransactionalProducer):
                self.owes = self._producer.open
            self._producer.close()
            self._counted |= self._producer.counts.topics
        self._producer = self._checkpointer = None
