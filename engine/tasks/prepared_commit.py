"""What a task has sealed for a commit, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...state.input_names import input_name
from ...state.store import Change
from ..ids import TaskId
from ..watermarks.watermarks import Seen
from .changelog_ownership import Authorship
from .topic_ids import TopicIds

__all__ = ["Sealed"]

Key = tuple[str, int]


@dataclass(frozen=True)
class Sealed:
    """What a task wants made durable: where its inputs go on, what changed in its stores, and its stream time."""

    task: TaskId
    offsets: Mapping[Key, int]
    changes: tuple[Change, ...]
    stream_time: int
    seen: Mapping[Key, Seen] = field(default_factory=dict[Key, Seen])
    """What was seen of the inputs that have watermarks, or whose newest time is that of records without one."""
    topics: TopicIds = field(default_factory=TopicIds)
    """Which topics the offsets and changes are of."""
    authorship: Authorship = field(default_factory=Authorship)
    """Who the task is in changelogs that are written at least once."""
    shapes: str = ""
    """What the stores are, as metadata."""

    def metadata(self, key: Key) -> str:
        """What goes with the offset of an input."""
        seen = self.seen.get(key)
        text = f"t={self.stream_time}" if seen is None else f"t={self.stream_time};{seen}"
        return text + self.topics.metadata(key[0]) + self.shapes

    def inputs(self) -> dict[str, int]:
        """The offsets by the names that stores and changelogs know inputs by."""
        return {input_name(key, self.topics.ids.get(key[0], "")): at for key, at in self.offsets.items()}

    @property
    def empty(self) -> bool:
        """True when there is nothing to commit."""
        return not self.offsets and not self.changes
