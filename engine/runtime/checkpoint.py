"""The one place that commits.

A checkpoint makes outputs, state changes and input offsets durable together, whatever the reason for it: interval,
dirty bytes, revoke or shutdown. It knows neither operators nor tasks, only what they sealed. The fate of a transaction
is never guessed: an outcome that cannot be known is raised as `Unsettled`, and the caller drops its tasks and recovers
them from what the broker says.

Offsets go with every commit, whatever the work came of (records, timers, answers to calls): with them goes the
generation of the group, and Kafka refuses both to a process that has lost its tasks.

    exactly once    changelog -> offsets into the transaction -> commit -> (caller settles the stores)
    at least once   still a member? -> changelog -> flush -> commit offsets -> (caller settles the stores)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ...state.changelog import ChangelogRecord, encode
from ...state.store import Position
from ..errors import Retryable, Unsettled
from ..failpoints import hit
from ..ids import TaskId
from ..tasks.prepared_commit import Sealed

__all__ = ["AtLeastOnce", "Checkpointer", "ExactlyOnce", "Group", "Settled", "Unsettled"]

Key = tuple[str, int]
Settled = Mapping[TaskId, Position]
"""The new changelog positions of each task that was sealed."""


class Group(Protocol):
    """The membership a commit is made under."""

    def sending_offsets(self, epoch: int) -> AbstractContextManager[bytes]: ...

    def commit_offsets(self, epoch: int, offsets: Mapping[Key, tuple[int, str]], timeout: float = ...) -> None: ...

    def confirm(self, epoch: int, timeout: float = ...) -> None: ...


class Transactions(Protocol):
    """The transactional producer."""

    open: bool

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None: ...
    def ends(self) -> dict[Key, int]: ...
    def begin(self) -> None: ...
    def send_offsets(self, offsets: Mapping[Key, tuple[int, str]], group: bytes, timeout: float) -> None: ...
    def commit(self, timeout: float) -> None: ...
    def abort(self, timeout: float) -> None: ...


class Flushing(Protocol):
    """The producer without transactions."""

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None: ...
    def ends(self) -> dict[Key, int]: ...
    def flush(self, timeout: float) -> None: ...


class Checkpointer(Protocol):
    """Makes sealed work durable."""

    @property
    def pending(self) -> bool:
        """True when outputs wait for a commit."""
        ...

    def commit(self, sealed: Sequence[Sealed]) -> Settled:
        """All of it, or an error and nothing that a reader could see.

        Raises Fenced or Unsettled: drop the tasks. Raises another error: the work is undone, nothing is durable.
        """
        ...


Changelogs = Callable[[TaskId, str], "str | None"]
"""From a task and a store to its changelog topic, None for a store without one."""


class _Logs:
    """Writes the changes of sealed tasks to their changelogs and finds the positions they led to."""

    def __init__(self, producer: Transactions | Flushing, changelogs: Changelogs) -> None:
        self._producer = producer
        self._changelogs = changelogs

    def write(self, sealed: Sequence[Sealed], *, with_inputs: bool) -> None:
        for work in sealed:
            by_store: dict[str, list[Any]] = {}
            for change in work.changes:
                by_store.setdefault(change.store, []).append(change)
            inputs = work.inputs() if with_inputs else None
            for store, changes in by_store.items():
                topic = self._changelogs(work.task, store)
                if topic is not None:
                    writer = work.authorship.writers.get(store)
                    self._producer.changelog(topic, work.task.partition, encode(changes, inputs, writer))

    def settled(self, sealed: Sequence[Sealed]) -> Settled:
        ends = self._producer.ends()
        found: dict[TaskId, Position] = {}
        for work in sealed:
            offsets: dict[str, int] = {}
            for store in {change.store for change in work.changes}:
                topic = self._changelogs(work.task, store)
                if topic is not None:
                    offsets[store] = ends[topic, work.task.partition]
            found[work.task] = Position(offsets, {})
        return found


def offsets_of(sealed: Sequence[Sealed]) -> dict[Key, tuple[int, str]]:
    """The input offsets of all sealed work, each with the task's stream time and what was seen of it as metadata."""
    return {key: (at, work.metadata(key)) for work in sealed for key, at in work.offsets.items()}


class ExactlyOnce:
    """Outputs, changelogs and offsets in one Kafka transaction, fenced by the group's generation (KIP-447)."""

    def __init__(
        self, producer: Transactions, group: Group, epoch: int, changelogs: Changelogs, timeout: float
    ) -> None:
        """`epoch` is that of the membership the work is done under; `timeout` in seconds bounds each step."""
        self._producer = producer
        self._group = group
        self._epoch = epoch
        self._logs = _Logs(producer, changelogs)
        self._timeout = timeout

    @property
    def pending(self) -> bool:
        return self._producer.open

    def commit(self, sealed: Sequence[Sealed]) -> Settled:
        hit("before-produce")
        try:
            self._producer.begin()
            self._logs.write(sealed, with_inputs=False)
            offsets = offsets_of(sealed)
            if not offsets:
                raise Unsettled("no offsets go with this transaction, so a process that lost its tasks could commit it")
            with self._group.sending_offsets(self._epoch) as metadata:
                self._producer.send_offsets(offsets, metadata, self._timeout)
            hit("after-send-offsets")
            hit("during-commit-before")
            self._producer.commit(self._timeout)
        except (Retryable, Unsettled) as failure:
            raise Unsettled(f"{failure}; whether it was committed is not known") from failure
        hit("during-commit-after")
        return self._logs.settled(sealed)


class AtLeastOnce:
    """Outputs and changelogs are delivered before the offsets that they came from are committed."""

    def __init__(self, producer: Flushing, group: Group, epoch: int, changelogs: Changelogs, timeout: float) -> None:
        """`epoch` is that of the membership the work is done under; `timeout` in seconds bounds each step."""
        self._producer = producer
        self._group = group
        self._epoch = epoch
        self._logs = _Logs(producer, changelogs)
        self._timeout = timeout

    @property
    def pending(self) -> bool:
        return False

    def commit(self, sealed: Sequence[Sealed]) -> Settled:
        hit("before-produce")
        try:
            # Nothing fences this producer: who wakes up after others have its tasks must not write to their changelogs.
            self._group.confirm(self._epoch, self._timeout)
            self._logs.write(sealed, with_inputs=True)
            self._producer.flush(self._timeout)
            hit("after-send-offsets")
            hit("during-commit-before")
            self._group.commit_offsets(self._epoch, offsets_of(sealed), self._timeout)
        except (Retryable, Unsettled) as failure:
            raise Unsettled(f"{failure}; whether the offsets were committed is not known") from failure
        hit("during-commit-after")
        settled = self._logs.settled(sealed)
        for work in sealed:
            check_alone(work, settled[work.task])
        return settled


def check_alone(work: Sealed, position: Position) -> None:
    """Raises Unsettled when somebody else has written to a changelog of the task since its last commit.

    That was a process that had stood still since before this one took the task over. Its records do not count; whoever
    opens the task again knows them by their headers, and writes their keys again.
    """
    written = Counter(change.store for change in work.changes)
    for store, end in position.changelogs.items():
        before = work.authorship.ends.get(store)
        if before is not None and end != before + written[store]:
            raise Unsettled(
                f"task {work.task}: the changelog of store {store!r} ends at {end} and not at "
                f"{before + written[store]}: another process, or an earlier life of this one, has written to it"
            )
