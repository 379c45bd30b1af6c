"""Decides whether a local store may be used, and from where its changelog is replayed. Pure.

One row is chosen per store of a task. The questions: does the local content match offsets that the group has committed,
is it a prefix of this changelog, and are all later records still there, including deletions?

    the local store ...                                                             the decision
    has no position                                                                 Rebuild
    is of another topic than this changelog                                         RebuildCorrupt
    is of a store that was not in the version that committed the offsets            Rebuild
    is ahead of a committed input offset                                            RebuildCorrupt
    is ahead of the changelog's end                                                 RebuildCorrupt
    ends before the changelog's beginning                                           Rebuild
    was last complete longer ago than deletions are kept, and misses records        Rebuild
    is none of these                                                                UseLocal

A store that ends one offset before the changelog's end cannot miss a deletion: Kafka never compacts the active segment,
so the record at the last offset is still there, or is the marker of the store's own last commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from .store import TOMBSTONES_KEPT_MS, Position

__all__ = [
    "TOMBSTONES_KEPT_MS",
    "Decision",
    "Rebuild",
    "RebuildCorrupt",
    "UseLocal",
    "misses_records",
    "outdated",
    "plan_restore",
]

CLOCKS_AGREE_MS = 60_000
"""A time further in the future than this was written by a clock that cannot be trusted."""


class UseLocal(msgspec.Struct, frozen=True):
    """Keep the content and replay from this offset."""

    offset: int


class Rebuild(msgspec.Struct, frozen=True):
    """Empty the store and replay from this offset, the beginning."""

    offset: int
    why: str


class RebuildCorrupt(msgspec.Struct, frozen=True):
    """The content contradicts Kafka: log the reason, empty the store, replay from the beginning."""

    why: str


Decision: TypeAlias = "UseLocal | Rebuild | RebuildCorrupt"


def plan_restore(
    store: str,
    local: Position,
    log_begin: int,
    log_end: int,
    committed: Mapping[str, int],
    now: int = 0,
    tombstones_kept_ms: int = TOMBSTONES_KEPT_MS,
    topic_id: str = "",
    unlisted: bool = False,
) -> Decision:
    """Return the decision for one store.

    `committed` contains the task's input offsets by name (`input_names.py`); inputs that it does not name do not
    belong to the task any more and are ignored. `log_end` is the end as an uncommitted reader sees it. `now` is the
    wall clock. `topic_id` is the id of the changelog topic, "" if it is not known. `unlisted` says that the version of
    the program that committed the offsets did not have the store.
    """
    offset = local.changelogs.get(store)
    if offset is None:
        return Rebuild(log_begin, "there is no local state")
    known_id = local.topic_ids.get(store, "")
    if known_id and topic_id and known_id != topic_id:
        return RebuildCorrupt(
            f"it belongs to the changelog topic with id {known_id}, but the topic of this name has id {topic_id}: the "
            "topic was deleted and created again, for example by a reset or the restore of a savepoint elsewhere"
        )
    if unlisted:
        return Rebuild(log_begin, "the version of the program that committed the offsets had no such store")
    for partition, reached in local.inputs.items():
        if reached > committed.get(partition, reached):
            return RebuildCorrupt(
                f"it contains input {partition} up to offset {reached}, but the group has committed "
                f"{committed[partition]}: the directory or the group's offsets were restored from a copy, or the "
                "offsets were reset"
            )
    if offset > log_end:
        return RebuildCorrupt(
            f"it contains its changelog up to offset {offset}, but the changelog ends at {log_end}: the topic was "
            "created again or has lost records"
        )
    if offset < log_begin:
        return Rebuild(log_begin, f"it ends at offset {offset} of its changelog, which now begins at {log_begin}")
    if misses_records(offset, log_end):
        why = outdated(local.complete.get(store), now, tombstones_kept_ms)
        if why:
            return Rebuild(log_begin, why)
    return UseLocal(offset)


def misses_records(offset: int, log_end: int) -> bool:
    """Return whether a compacted log may have dropped records from this offset on."""
    return offset < log_end - 1


def outdated(complete: int | None, now: int, tombstones_kept_ms: int) -> str:
    """Return why a copy that was complete at a time may miss deletions now; "" if it cannot."""
    if complete is None:
        return "it has no time at which it was complete, like stores of earlier versions; it may miss deletions"
    if complete > now + CLOCKS_AGREE_MS:
        return "it was complete at a time that is in the future by this machine's clock; it may miss deletions"
    if now - complete > tombstones_kept_ms:
        return (
            f"it was last complete {span(now - complete)} ago, and the topic keeps deletions for "
            f"{span(tombstones_kept_ms)} only"
        )
    return ""


def span(ms: int) -> str:
    """Return a time span as readable text."""
    return f"{ms // 3_600_000} hours" if ms >= 2 * 3_600_000 else f"{ms / 1000:g} s"
