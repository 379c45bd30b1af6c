"""Whether a store found on disk may be used, and from where its changelog is replayed. A pure decision table.

One row is decided for each store of a task. What is asked: does the local content stand for offsets that the group has
committed, is it a prefix of this very changelog, and is what came after it still there, deletions included?

    the local store ...                                                             the decision
    has no position                                                                 Rebuild
    is of another topic than this changelog                                         Corrupt
    is ahead of a committed input offset                                            Corrupt
    is ahead of the changelog's end                                                 Corrupt
    ends before the changelog's beginning                                           Rebuild
    was last complete longer ago than deletions are kept, and misses records        Rebuild
    is none of these                                                                UseLocal

A store that ends one offset before the changelog's end misses nothing that could be gone: Kafka never compacts the
segment it writes to, so the last offset is a record that is still there, or the marker of the store's own last commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from .store import TOMBSTONES_KEPT_MS, Position

__all__ = [
    "TOMBSTONES_KEPT_MS",
    "Corrupt",
    "Decision",
    "Rebuild",
    "UseLocal",
    "misses_records",
    "outdated",
    "plan_restore",
]

CLOCKS_AGREE_MS = 60_000
"""A time further in the future than this was written by a clock that cannot be trusted."""


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
    now: int = 0,
    tombstones_kept_ms: int = TOMBSTONES_KEPT_MS,
    topic_id: str = "",
) -> Decision:
    """Decides for one store.

    `committed` are the task's input offsets by name (`input_names.py`); inputs that it does not name are no longer the
    task's and count for nothing. `log_end` is the end as an uncommitted reader sees it. `now` is the wall clock's time.
    `topic_id` is the id of the changelog topic, "" where it is not known.
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
    if misses_records(offset, log_end):
        why = outdated(local.complete.get(store), now, tombstones_kept_ms)
        if why:
            return Rebuild(log_begin, why)
    return UseLocal(offset)


def misses_records(offset: int, log_end: int) -> bool:
    """Whether there may have been records from an offset on that a compacted log does not have any more."""
    return offset < log_end - 1


def outdated(complete: int | None, now: int, tombstones_kept_ms: int) -> str:
    """Why deletions may be missed by whoever was complete at one time and goes on now; "" when none can be."""
    if complete is None:
        return "it does not say when it was complete, as stores of earlier versions do not; deletions may be missed"
    if complete > now + CLOCKS_AGREE_MS:
        return "it was complete at a time that has not come yet by this machine's clock; deletions may be missed"
    if now - complete > tombstones_kept_ms:
        return (
            f"it was last complete {span(now - complete)} ago, and deletions are kept in the topic for "
            f"{span(tombstones_kept_ms)} only"
        )
    return ""


def span(ms: int) -> str:
    """A time span for people."""
    return f"{ms // 3_600_000} hours" if ms >= 2 * 3_600_000 else f"{ms / 1000:g} s"
