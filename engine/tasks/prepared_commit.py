"""What a task has prepared for a commit, as a value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ...state.changes import Changes
from ...state.input_names import input_name
from ...state.store import Position, Store
from ...state.topic_partition import TopicPartition
from ..ids import TaskId
from ..watermarks.row_positions import positions_in
from ..watermarks.watermarks import InputProgress
from .changelog_ownership import ChangelogOwnership
from .roles import ACTIVE, Role
from .snapshot_marks import SnapshotMark
from .topic_ids import TopicIds

__all__ = ["PreparedCommit", "positions_to_commit", "write_to_stores"]


@dataclass(frozen=True)
class PreparedCommit:
    """What a task wants made durable: input offsets, changes of its stores, and its stream time."""

    task: TaskId
    offsets: Mapping[TopicPartition, int]
    changes: Changes
    stream_time: int
    seen: Mapping[TopicPartition, InputProgress] = field(default_factory=dict[TopicPartition, InputProgress])
    """The progress of inputs that have watermarks, or whose records without a timestamp get the newest time."""
    topics: TopicIds = field(default_factory=TopicIds)
    """The ids of the topics that the offsets and changes belong to."""
    changelog_ownership: ChangelogOwnership = field(default_factory=ChangelogOwnership)
    """The task's writer ids in changelogs under at-least-once."""
    shapes: str = ""
    """The schemas of the stores, as metadata."""
    mark: SnapshotMark | None = None
    """The snapshot with the state at the offsets, where stores have no changelogs."""
    role: Role = ACTIVE
    """The role of the application."""

    def metadata(self, key: TopicPartition) -> str:
        """Return the metadata that is committed with the offset of an input."""
        seen = self.seen.get(key)
        text = f"t={self.stream_time}" if seen is None else f"t={self.stream_time};{seen}"
        text += self.topics.metadata(key[0]) + self.shapes + ("" if self.mark is None else self.mark.metadata)
        return text + self.role.metadata

    def inputs(self) -> dict[str, int]:
        """Return the positions by the names that stores and changelogs use for inputs."""
        positions = positions_in(self.offsets, self.seen)
        return {input_name(key, self.topics.ids.get(key[0], "")): at for key, at in positions.items()}

    @property
    def empty(self) -> bool:
        """True if there is nothing to commit."""
        return not self.offsets and not self.changes


def positions_to_commit(
    reached: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, int],
    fresh: Collection[TopicPartition],
    unsaid: Collection[TopicPartition],
) -> dict[TopicPartition, int]:
    """Return the positions of inputs that have moved or are fresh.

    The first time that one has moved, those of all `unsaid` inputs are among them: the metadata of their committed
    offsets may be of another version of the program, which had other stores.
    """
    moved = {key for key, at in reached.items() if at != committed[key]}
    said = {*moved, *fresh, *unsaid} if moved - set(fresh) else {*moved, *fresh}
    return {key: at for key, at in reached.items() if key in said}


def write_to_stores(
    work: PreparedCommit, stores: Mapping[str, Store], kinds: Mapping[str, str], position: Position
) -> None:
    """Write a prepared commit to the stores of its task, atomically for each kind of store.

    `stores` are by kind, `kinds` has the kind of each store by name. `position` has the new offsets of the changelogs
    and, for stores that are complete by it, the time; or the commit.
    """
    inputs = work.inputs()
    for kind, into in stores.items():
        mine = {name for name, its in kinds.items() if its == kind}
        into.apply(
            work.changes.within(mine),
            Position(
                {name: at for name, at in position.changelogs.items() if name in mine},
                inputs,
                {name: at for name, at in position.complete.items() if name in mine},
                writers=work.changelog_ownership.wrote(mine & position.changelogs.keys()),
                commit=position.commit,
            ),
        )
