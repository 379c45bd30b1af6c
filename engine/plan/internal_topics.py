"""The topics that an application creates: changelogs, repartition and shadow topics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...state.store import TOMBSTONES_KEPT_MS

__all__ = ["ANY_TIME", "InternalTopic", "KeptNames", "changelog_topic", "repartition_topic"]

ANY_TIME: Mapping[str, str] = dict.fromkeys(
    ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms"), str((1 << 63) - 1)
)
"""Settings with which an internal topic accepts any event time. By default, Kafka accepts at most an hour ahead;
brokers before 3.6 have neither setting, and no such limit."""


@dataclass(frozen=True)
class InternalTopic:
    """A topic that the application creates."""

    name: str
    kind: str
    """`repartition`, `changelog` or `shadow`."""
    partitions: int
    owner: str
    """The step, store or output topic it belongs to, for messages."""
    uncompacted: int = 0
    """How long a changelog keeps all records, in ms."""
    largest: str = ""
    """The largest batch that a shadow topic accepts, in bytes; "" for the broker's default."""

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings on the broker."""
        if self.kind == "changelog":
            kept = {"min.compaction.lag.ms": str(self.uncompacted)} if self.uncompacted else {}
            return {"cleanup.policy": "compact", "delete.retention.ms": str(TOMBSTONES_KEPT_MS), **kept, **ANY_TIME}
        sizes = {"max.message.bytes": self.largest} if self.largest else {}
        kept = {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "CreateTime"}
        return {**kept, **sizes, **ANY_TIME}


@dataclass(frozen=True)
class KeptNames:
    """The former names under which what belongs to renamed steps is kept; see `kept_names.py`."""

    stores: Mapping[str, str] = field(default_factory=dict[str, str])
    """By the present name of a store."""
    repartitions: Mapping[str, str] = field(default_factory=dict[str, str])
    """By the present name of a repartition."""


def repartition_topic(app_id: str, name: str) -> str:
    """Return the topic of a repartition."""
    return f"{app_id}-{name}-repartition"


def changelog_topic(app_id: str, store: str) -> str:
    """Return the changelog topic of a store."""
    return f"{app_id}-{store}-changelog"
