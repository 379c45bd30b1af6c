"""A task on its way from assignment to running, as values: what was asked for, how far it is, what comes of it.

Nothing here reads a changelog or opens a store; `recovery.py` does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...operators.record import Batch
from ...state.store import TOMBSTONES_KEPT_MS, StateError, Store, Writer
from ..ids import TaskId
from ..plan.plan import SubTopology
from ..tasks.changelog_ownership import Authorship
from ..watermarks.watermarks import Seen

__all__ = ["Closed", "Feed", "Opening", "Progress", "Ready", "close_all"]

LOG = logging.getLogger("tidemill.recovery")
Key = tuple[str, int]

LEAST_KEPT_MS = 600_000
"""Copies are not given up sooner, however short deletions are kept: they are read as they are written."""
LEAST_RESTORE_MS = 60_000
"""Restores are not begun again sooner, however short deletions are kept: Kafka compacts twice before one is gone."""


@dataclass(frozen=True)
class Ready:
    """A task that may run."""

    task: TaskId
    stores: Mapping[str, Store]
    """By kind."""
    offsets: Mapping[Key, int]
    """Next offsets of the inputs."""
    fresh: frozenset[Key]
    """Inputs without a committed offset."""
    stream_time: int
    restored: int
    """Changelog records that were replayed."""
    seen: Mapping[Key, Seen] = field(default_factory=dict[Key, Seen])
    """What was seen of the inputs."""
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """The ids of the topics that it reads and of its changelogs, as far as brokers give them."""

    authorship: Authorship = field(default_factory=Authorship)
    """Who the task is in its changelogs, under at-least-once."""

    def close(self) -> None:
        """Closes the stores of a task that is not wanted any more."""
        close_all(self.stores)


@dataclass(frozen=True)
class Closed:
    """A task that is not wanted any more, of which nothing is open now."""

    task: TaskId


@dataclass(frozen=True)
class Progress:
    """How far a restore is, in changelog records."""

    task: TaskId
    done: int
    to_do: int


@dataclass
class Feed:
    """One changelog partition on its way into a store."""

    task: TaskId
    store: str
    into: Store
    begin: int
    position: int
    target: int
    inputs: Mapping[str, int] | None
    """Committed input offsets, for changelogs written at least once: changes beyond them are left out, or waited with,
    while the replay has met no gap. None when every change counts."""

    writer: Writer | None = None
    """The last writer that the store knows of, under at-least-once."""
    newest: Writer | None = None
    """The last writer met in this replay."""
    taken: int = -1
    """The offset of the last record of a known writer that counted."""
    unsure: dict[bytes, None] = field(default_factory=dict[bytes, None])
    """The keys whose last records so far do not count."""
    held: list[Batch] = field(default_factory=list[Batch])
    """Under at-least-once, what a copy waits with: its commit may be lost."""
    stopped: bool = False
    """True while a copy waits with so much that it does not read on."""
    left_out: int | None = None
    """The first change that was skipped. The store is not ahead of it: its inputs may be committed yet, by another
    process if this one is wrong about being the owner, and then the change counts."""
    follows: bool = False
    """True for a standby: there is no end."""
    asked: int = 0
    """When the target was the changelog's end, by the wall clock: at the target the store is complete as of then."""
    complete: int = 0
    """When the store was last known to be complete, or, where it begins empty, when it began."""
    kept: int = TOMBSTONES_KEPT_MS
    """For how long its changelog keeps deletions, in ms."""

    @property
    def done(self) -> bool:
        return self.position >= self.target and not self.follows

    @property
    def patience(self) -> int:
        """How long after it was complete the store may go on, in ms. Where it is not known how long deletions are kept,
        a restore goes by Kafka's default."""
        if self.follows:
            return max(self.kept, LEAST_KEPT_MS)
        return max(self.kept or TOMBSTONES_KEPT_MS, LEAST_RESTORE_MS)


@dataclass
class Opening:
    """A task between its assignment and READY, or a standby."""

    task: TaskId
    part: SubTopology
    request: int = 0
    """The number of the request that it answers."""
    standby: bool = False
    stores: Mapping[str, Store] = field(default_factory=dict[str, Store])
    offsets: Mapping[Key, int] = field(default_factory=dict[Key, int])
    fresh: frozenset[Key] = frozenset()
    stream_time: int = -1
    topic_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    seen: dict[Key, Seen] = field(default_factory=dict[Key, Seen])
    feeds: list[Feed] = field(default_factory=list[Feed])
    covered: Mapping[str, int] = field(default_factory=dict[str, int])
    """Under at-least-once, how far a copy's inputs are committed, by the names of `state/input_names.py`."""
    authorship: Authorship = field(default_factory=Authorship)
    restored: int = 0
    total: int = 0
    log_size: int = 0

    def ready(self) -> Ready:
        """The task, once its stores are up to date."""
        self.authorship.unsure = {feed.store: feed.unsure for feed in self.feeds if feed.unsure}
        return Ready(
            self.task,
            self.stores,
            self.offsets,
            self.fresh,
            self.stream_time,
            self.restored,
            self.seen,
            self.topic_ids,
            self.authorship,
        )


def close_all(stores: Mapping[str, Store]) -> None:
    """Closes all of them, whether that works or not; a failure is told.

    Nothing is lost with what could not be written: the changelog has it.
    """
    for store in stores.values():
        try:
            store.close()
        except StateError as failure:
            LOG.warning("%s; what is missing in it is read from the changelogs when it is opened again", failure)
