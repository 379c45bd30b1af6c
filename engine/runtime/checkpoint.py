"""The only place that commits.

A checkpoint makes outputs, state changes and input offsets durable together, whatever its reason: interval, dirty
bytes, revocation or shutdown. It knows neither operators nor tasks, only prepared commits. The outcome of a transaction
is never guessed: an unknown one is raised as `CommitOutcomeUnknown`, and the caller drops its tasks and recovers them
from the state of the broker.

Every commit includes offsets, whether the work came from records, timers or results of calls. The offsets carry the
generation of the group, and Kafka refuses both to a process that has lost its tasks.

    exactly once    changelog -> offsets into the transaction -> commit -> (caller completes the commit in the stores)
    at least once   still a member? -> changelog -> flush -> commit offsets -> (caller completes the commit likewise)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ...state.changelog import ChangelogRecord, encode
from ...state.store import Position
from ...state.topic_partition import TopicPartition
from ..errors import CommitOutcomeUnknown, Retryable
from ..failpoints import hit
from ..ids import TaskId
from ..tasks.prepared_commit import PreparedCommit

__all__ = ["AtLeastOnce", "Checkpointer", "CommitGroup", "CommitOutcomeUnknown", "CommittedPositions", "ExactlyOnce"]

CommittedPositions = Mapping[TaskId, Position]
"""The new changelog positions of each committed task."""


class CommitGroup(Protocol):
    """The membership under which a commit is made."""

    def sending_offsets(self, epoch: int) -> AbstractContextManager[bytes]: ...

    def commit_offsets(
        self, epoch: int, offsets: Mapping[TopicPartition, tuple[int, str]], timeout: float = ...
    ) -> None: ...

    def confirm(self, epoch: int, timeout: float = ...) -> None: ...


class Transactions(Protocol):
    """A transactional producer."""

    open: bool

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None: ...
    def ends(self) -> dict[TopicPartition, int]: ...
    def begin(self) -> None: ...
    def send_offsets(self, offsets: Mapping[TopicPartition, tuple[int, str]], group: bytes, timeout: float) -> None: ...
    def commit(self, timeout: float) -> None: ...
    def abort(self, timeout: float) -> None: ...


class FlushingProducer(Protocol):
    """A producer without transactions."""

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None: ...
    def ends(self) -> dict[TopicPartition, int]: ...
    def flush(self, timeout: float) -> None: ...


class Checkpointer(Protocol):
    """Makes prepared commits durable."""

    @property
    def pending(self) -> bool:
        """True when outputs wait for a commit."""
        ...

    def commit(self, prepared: Sequence[PreparedCommit]) -> CommittedPositions:
        """Commit all prepared work, or raise an error with nothing visible to readers.

        After Fenced or CommitOutcomeUnknown the tasks must be dropped. After any other error nothing is durable.
        """
        ...


Changelogs = Callable[[TaskId, str], "str | None"]
"""Returns the changelog topic of a store of a task, None for a store without one."""


class _ChangelogWriter:
    """Writes the changes of prepared commits to changelogs and returns the new positions."""

    def __init__(self, producer: Transactions | FlushingProducer, changelogs: Changelogs) -> None:
        self._producer = producer
        self._changelogs = changelogs

    def write(self, prepared: Sequence[PreparedCommit], *, with_inputs: bool) -> None:
        for work in prepared:
            inputs = work.inputs() if with_inputs else None
            for store in work.changes.stores():
                topic = self._changelogs(work.task, store)
                if topic is not None:
                    changes, writer = work.changes.within((store,)), work.changelog_ownership.writers.get(store)
                    self._producer.changelog(topic, work.task.partition, encode(changes, inputs, writer))

    def committed_positions(self, prepared: Sequence[PreparedCommit]) -> CommittedPositions:
        ends = self._producer.ends()
        found: dict[TaskId, Position] = {}
        for work in prepared:
            offsets: dict[str, int] = {}
            for store in work.changes.stores():
                topic = self._changelogs(work.task, store)
                if topic is not None:
                    offsets[store] = ends[topic, work.task.partition]
            found[work.task] = Position(offsets, {})
        return found


def offsets_of(prepared: Sequence[PreparedCommit]) -> dict[TopicPartition, tuple[int, str]]:
    """Return the input offsets of all prepared commits with their metadata.

    The metadata has the task's stream time and the progress of the input.
    """
    return {key: (at, work.metadata(key)) for work in prepared for key, at in work.offsets.items()}


class ExactlyOnce:
    """Commits all in one Kafka transaction, fenced by the generation of the group (KIP-447)."""

    def __init__(
        self, producer: Transactions, group: CommitGroup, epoch: int, changelogs: Changelogs, timeout: float
    ) -> None:
        """Create it for one membership epoch; `timeout` in seconds limits each step."""
        self._producer = producer
        self._group = group
        self._epoch = epoch
        self._logs = _ChangelogWriter(producer, changelogs)
        self._timeout = timeout

    @property
    def pending(self) -> bool:
        return self._producer.open

    def commit(self, prepared: Sequence[PreparedCommit]) -> CommittedPositions:
        hit("before-produce")
        try:
            self._producer.begin()
            self._logs.write(prepared, with_inputs=False)
            offsets = offsets_of(prepared)
            if not offsets:
                raise CommitOutcomeUnknown(
                    "this transaction has no offsets, so a process that lost its tasks could commit it"
                )
            with self._group.sending_offsets(self._epoch) as metadata:
                self._producer.send_offsets(offsets, metadata, self._timeout)
            hit("after-send-offsets")
            hit("during-commit-before")
            self._producer.commit(self._timeout)
        except (Retryable, CommitOutcomeUnknown) as failure:
            raise CommitOutcomeUnknown(f"{failure}; it is unknown whether it was committed") from failure
        hit("during-commit-after")
        return self._logs.committed_positions(prepared)


class AtLeastOnce:
    """Delivers outputs and changelogs before it commits the input offsets."""

    def __init__(
        self, producer: FlushingProducer, group: CommitGroup, epoch: int, changelogs: Changelogs, timeout: float
    ) -> None:
        """Create it for one membership epoch; `timeout` in seconds limits each step."""
        self._producer = producer
        self._group = group
        self._epoch = epoch
        self._logs = _ChangelogWriter(producer, changelogs)
        self._timeout = timeout

    @property
    def pending(self) -> bool:
        return False

    def commit(self, prepared: Sequence[PreparedCommit]) -> CommittedPositions:
        hit("before-produce")
        try:
            # Nothing fences this producer: a zombie must not write to the changelogs of tasks that others own.
            self._group.confirm(self._epoch, self._timeout)
            self._logs.write(prepared, with_inputs=True)
            self._producer.flush(self._timeout)
            hit("after-send-offsets")
            hit("during-commit-before")
            self._group.commit_offsets(self._epoch, offsets_of(prepared), self._timeout)
        except (Retryable, CommitOutcomeUnknown) as failure:
            raise CommitOutcomeUnknown(f"{failure}; it is unknown whether the offsets were committed") from failure
        hit("during-commit-after")
        positions = self._logs.committed_positions(prepared)
        for work in prepared:
            check_alone(work, positions[work.task])
        return positions


def check_alone(work: PreparedCommit, position: Position) -> None:
    """Raise CommitOutcomeUnknown if another process has written to a changelog of the task.

    That process was suspended since before this one took the task over. Its records are not valid; when the task is
    reopened, they are recognized by their headers, and their keys are written again.
    """
    for store, end in position.changelogs.items():
        before = work.changelog_ownership.ends.get(store)
        written = len(work.changes.within((store,)))
        if before is not None and end != before + written:
            raise CommitOutcomeUnknown(
                f"task {work.task}: the changelog of store {store!r} ends at {end} and not at "
                f"{before + written}: another process, or an earlier life of this one, has written to it"
            )
