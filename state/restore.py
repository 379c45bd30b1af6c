"""Whether a store found on disk may be used, and from where its changelog is replayed. A pure decision table.

One row is decided for each store of a task. What is asked: does the local content stand for offsets that the group has
committed, is it a prefix of this very changelog, and is what came after it still there, deletions included?

    the local store ...                                                             the decision
    has no position                                                                 Rebuild
    is of another topic than this changelog                                         Corrupt
    is ahead of a committed input offset                                            Corrupt
    is ahead of the changelog's end                                                 Corrupt
    ends before the changelog's beginning                                           Rebuild
    is older than deletions are kept, and the changelog went on meanwhile           Rebuild
    is none of these                                                                UseLocal
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from .store import Position

__all__ = ["TOMBSTONES_KEPT_MS", "Corrupt", "Decision", "Rebuild", "UseLocal", "plan_restore"]

TOMBSTONES_KEPT_MS = 24 * 60 * 60 * 1000
"""How long a compacted topic keeps deletions by default (`delete.retention.ms`)."""


class UseLocal(msgspec.Struct, frozen=True):
    """Keep the content and replay from here."""

    offset: int


class Rebuild(msgspec.Struct, frozen=True):
    """Empty the store and replay from here, the beginning."""

    offset: int
    why: str


class Corrupt(msgspec.Struct, frozen=True):
    """The content contradicts Kafka: empty the store, replay from the beginning, and tell people why."""

    why: str


Decision: TypeAlias = "UseLocal | Rebuild | Corrupt"


def plan_restore(
    store: str,
    local: Position,
    log_begin: int,
    log_end: int,
    committed: Mapping[str, int],
    age_ms: int = 0,
    tombstones_kept_ms: int = TOMBSTONES_KEPT_MS,
    topic_id: str = "",
) -> Decision:
    """Decides for one store.

    `committed` are the task's input offsets by name (`inputs.py`); inputs that it does not name are no longer the
    task's and count for nothing. `log_end` is the end as an uncommitted reader sees it. `age_ms` is how long ago the
    local store was last written. `topic_id` is the id of the changelog topic, "" where it is not known.
    """
    offset = local.changelogs.get(store)
    if offset is None:
        return Rebuild(log_begin, "there is no local state")
    known_id = local.topic_ids.get(store, "")
    if known_id and topic_id and known_id != topic_id:
        return Corrupt(
            f"it is of the changelog topic with id {known_id}, the topic of this name has id {topic_id}: that was "
            "deleted and created again, for instance by a reset on another machine"
        )
    for partition, reached in local.inputs.items():
        if reached > committed.get(partition, reached):
            return Corrupt(
                f"it has input {partition} up to offset {reached}, the group has committed {committed[partition]}: "
                "the directory or the group's offsets were restored from a copy, or the offsets were reset"
            )
    if offset > log_end:
        return Corrupt(
            f"it has its changelog up to offset {offset}, the changelog ends at {log_end}: the topic was made anew or "
            "has lost records"
        )
    if offset < log_begin:
        return Rebuild(log_begin, f"it ends at offset {offset} of its changelog, which begins at {log_begin} now")
    if offset < log_end and age_ms > tombstones_kept_ms:
        return Rebuild(
            log_begin,
            f"it was last written {age_ms // 3_600_000} hours ago, and deletions are kept in the changelog for "
            f"{tombstones_kept_ms // 3_600_000} only",
        )
    return UseLocal(offset)
