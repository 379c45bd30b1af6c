"""The opening of a task as values: its request, its progress and its result.

Nothing here reads a changelog or opens a store; `recovery.py` does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...operators.record import Batch
from ...state.store import TOMBSTONES_KEPT_MS, StateError, Store, WriterId
from ...state.topic_partition import TopicPartition
from ..ids import TaskId
from ..plan.plan import SubTopology
from ..tasks.changelog_ownership import ChangelogOwnership
from ..tasks.roles import ACTIVE, Role
from ..tasks.snapshot_marks import SnapshotMark
from ..watermarks.row_positions import positions_in
from ..watermarks.watermarks import InputProgress

__all__ = ["Closed", "Opening", "Progress", "Ready", "ReplayCursor", "close_all"]

LOG = logging.getLogger("tidemill.recovery")

LEAST_KEPT_MS = 600_000
"""Standbys are not given up sooner, since they keep up with their changelogs."""
LEAST_RESTORE_MS = 60_000
"""Restores are not restarted sooner: Kafka removes a tombstone only in a second compaction."""


@dataclass(frozen=True)
class Ready:
    """A task that is ready to run."""

    task: TaskId
    opening: int
    """The number of its opening."""
    stores: Mapping[str, Store]
    """By kind."""
    offsets: Mapping[TopicPartition, int]
    """Next offsets of the inputs."""
    fresh: frozenset[TopicPartition]
    """Inputs without a committed offset."""
    stream_time: int
    restored: int
    """Number of changelog records replayed."""
    seen: Mapping[TopicPartition, InputProgress] = field(default_factory=dict[TopicPartition, InputProgress])
    """Progress of the inputs in event time."""
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """Ids of its input topics and changelogs, as far as brokers provide them."""

    changelog_ownership: ChangelogOwnership = field(default_factory=ChangelogOwnership)
    """Identity of the task as a writer of its changelogs, under at-least-once."""
    mark: SnapshotMark | None = None
    """The snapshot with the content of the stores, where they have no changelogs."""
    role: Role = ACTIVE
    """The role of the application by the committed offsets."""

    def close(self) -> None:
        """Close the stores of a task that is no longer wanted."""
        close_all(self.stores)


@dataclass(frozen=True)
class Closed:
    """A task whose opening was cancelled, and whose stores are closed."""

    task: TaskId
    opening: int


@dataclass(frozen=True)
class Progress:
    """The progress of a restore."""

    task: TaskId
    done: int
    """Number of changelog records replayed."""
    to_do: int
    """Number of changelog records in total, replayed or not."""
    bytes_left: int = 0
    """Of a snapshot that is being downloaded."""


@dataclass
class ReplayCursor:
    """The progress of the replay of one changelog partition into a store."""

    task: TaskId
    store: str
    into: Store
    begin: int
    position: int
    target: int
    inputs: Mapping[str, int] | None
    """Committed input offsets under at-least-once; None if every change is valid.

    Until the replay meets a gap, changes beyond them are skipped, or held back by a standby.
    """

    unlisted: Mapping[str, int] | None = None
    """Committed input offsets, if the version that committed them did not have the store."""
    old: int = 0
    """How many records of a former version were found then."""
    writer: WriterId | None = None
    """The last writer recorded in the store, under at-least-once."""
    newest: WriterId | None = None
    """The last writer found in this replay."""
    taken: int = -1
    """The offset of the last valid record with a known writer."""
    unsure: dict[bytes, None] = field(default_factory=dict[bytes, None])
    """Keys whose last records so far are not valid."""
    held: list[Batch] = field(default_factory=list[Batch])
    """Batches that a standby holds back under at-least-once, since their commit may be lost."""
    stopped: bool = False
    """True while a standby has stopped reading because too many records were held back."""
    left_out: int | None = None
    """Offset of the first skipped change; the store's position stays there.

    The inputs of the change may still be committed, by another process if this one is not the owner any more. Then the
    change is valid.
    """
    follows: bool = False
    """True for a standby, which follows the changelog without an end."""
    asked: int = 0
    """When `target` was queried, by the wall clock: there the store is complete as of then."""
    complete: int = 0
    """When the store was last known to be complete, or was started empty."""
    kept: int = TOMBSTONES_KEPT_MS
    """How long its changelog keeps tombstones, in ms."""

    @property
    def done(self) -> bool:
        return self.position >= self.target and not self.follows

    @property
    def time_to_live(self) -> int:
        """How long the store may be used after it was last complete, in ms.

        If it is unknown how long tombstones are kept, a restore assumes Kafka's default.
        """
        if self.follows:
            return max(self.kept, LEAST_KEPT_MS)
        return max(self.kept or TOMBSTONES_KEPT_MS, LEAST_RESTORE_MS)


@dataclass
class Opening:
    """A task between its assignment and `Ready`, or a standby."""

    task: TaskId
    subtopology: SubTopology
    number: int = 0
    """The number of the opening; 0 for a standby."""
    standby: bool = False
    stores: Mapping[str, Store] = field(default_factory=dict[str, Store])
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    fresh: frozenset[TopicPartition] = frozenset()
    stream_time: int = -1
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    seen: dict[TopicPartition, InputProgress] = field(default_factory=dict[TopicPartition, InputProgress])
    unlisted: frozenset[str] = frozenset()
    """Stores that the version of the program which committed the offsets did not have."""
    cursors: list[ReplayCursor] = field(default_factory=list[ReplayCursor])
    covered: Mapping[str, int] = field(default_factory=dict[str, int])
    """Committed inputs of a standby under at-least-once, by the names of `state/input_names.py`."""
    changelog_ownership: ChangelogOwnership = field(default_factory=ChangelogOwnership)
    generation: int = -1
    """Of the group, under at-least-once, for a task that this process owns."""
    fetching: bool = False
    """True while a snapshot of the stores is looked for and downloaded."""
    looked: bool = False
    """True when that has ended."""
    mark: SnapshotMark | None = None
    """The snapshot that committed offsets name, where stores have no changelogs; None for a standby."""
    role: Role = ACTIVE
    """The role of the application by the committed offsets."""
    restored: int = 0
    total: int = 0
    log_size: int = 0

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The positions of the inputs, as stores have them."""
        return positions_in(self.offsets, self.seen)

    @property
    def origin(self) -> str:
        """Where the state comes from, in words."""
        if self.mark is None:
            return f"{self.restored} changelog records replayed of {self.log_size} offsets"
        if not self.mark.commit:
            return "it has no state yet"
        return f"its state is that of snapshot {self.mark.number}"

    def settle(self) -> None:
        """Prepare the stores for use, when they are up to date. Raises StateError."""
        for store in self.stores.values():
            store.set_loading(False)
            if self.restored:
                store.flush(wait=False)

    def ready(self) -> Ready:
        """Return the task as ready; its stores must be up to date."""
        self.changelog_ownership.unsure = {cursor.store: cursor.unsure for cursor in self.cursors if cursor.unsure}
        return Ready(
            self.task,
            self.number,
            self.stores,
            self.offsets,
            self.fresh,
            self.stream_time,
            self.restored,
            self.seen,
            self.topic_ids,
            self.changelog_ownership,
            self.mark,
            self.role,
        )


def close_all(stores: Mapping[str, Store]) -> None:
    """Close all stores; log failures and continue.

    No data is lost if a store cannot write its changes: the changelog has them.
    """
    for store in stores.values():
        try:
            store.close()
        except StateError as failure:
            LOG.warning("%s; missing changes will be restored from the changelogs when it is opened again", failure)
