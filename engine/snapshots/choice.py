"""The choice of where a task's stores are restored from. Pure.

The choices are the local disk, a snapshot, or the changelogs alone.

`plan_restore` (`state/restore.py`) says for each store whether a position may be used; here the positions that a task
could start from are compared by how much is left to do. A record to replay counts as much as `RECORD_BYTES` to
download, which is about what both take.

    the snapshot ...                                                          is
    is of another application or task, or of a later format                   left out
    holds a store as something else than the program has                      left out
    is of another changelog topic, or that is not known                       left out
    cannot be used for any store, as `plan_restore` says                      left out
    costs no less than what is on the local disk                              left out
    is none of these                                                          tried, the cheapest first
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ...state.restore import UseLocal, plan_restore
from ...state.store import TOMBSTONES_KEPT_MS, Position
from .manifest import Manifest

__all__ = ["RECORD_BYTES", "WORTH_ASKING", "Changelog", "Found", "UseSnapshot", "cost", "plan_task", "worth_asking"]

RECORD_BYTES = 1_000
WORTH_ASKING = 10_000 * RECORD_BYTES
"""A restore that costs less than this begins at once, and the snapshot store is not asked."""


class Changelog(msgspec.Struct, frozen=True):
    """The changelog of one store on disk, as the brokers have it."""

    store: str
    begin: int
    end: int
    topic_id: str
    tombstones_kept_ms: int = TOMBSTONES_KEPT_MS
    shape: str = ""
    """What the store holds, in words; "" where that is not known."""


class Found(msgspec.Struct, frozen=True):
    """A snapshot that is there."""

    number: int
    manifest: Manifest


class UseSnapshot(msgspec.Struct, frozen=True):
    """Download this one, and go on as if it had been on the local disk."""

    found: Found
    cost: int
    """Of the download, and of the replay after it."""


def cost(local: Position, changelogs: Iterable[Changelog], committed: Mapping[str, int], now: int) -> int:
    """Return the cost of bringing stores at a position up to date, in bytes or their equivalent."""
    records = 0
    for log in changelogs:
        offset = _usable(local, log, committed, now)
        records += log.end - (log.begin if offset is None else offset)
    return records * RECORD_BYTES


def worth_asking(local: Position, changelogs: Sequence[Changelog], committed: Mapping[str, int], now: int) -> bool:
    """Whether a snapshot could save anything that matters."""
    return cost(local, changelogs, committed, now) > WORTH_ASKING


def plan_task(
    task: tuple[str, str],
    local: Position,
    snapshots: Iterable[Found],
    changelogs: Sequence[Changelog],
    committed: Mapping[str, int],
    now: int,
) -> list[UseSnapshot]:
    """Return the snapshots that are better than the local disk, the best first.

    `task` is the application's id and the task's. `committed` and `now` are as for `plan_restore`.
    """
    limit = cost(local, changelogs, committed, now)
    plans = [
        UseSnapshot(found, found.manifest.size + cost(found.manifest.position, changelogs, committed, now))
        for found in snapshots
        if (found.manifest.application, found.manifest.task) == task
        and _fits(found.manifest, changelogs)
        and any(_usable(found.manifest.position, log, committed, now) is not None for log in changelogs)
    ]
    return sorted((plan for plan in plans if plan.cost < limit), key=lambda plan: plan.cost)


def _usable(local: Position, log: Changelog, committed: Mapping[str, int], now: int) -> int | None:
    decision = plan_restore(log.store, local, log.begin, log.end, committed, now, log.tombstones_kept_ms, log.topic_id)
    return decision.offset if isinstance(decision, UseLocal) else None


def _fits(manifest: Manifest, changelogs: Iterable[Changelog]) -> bool:
    """Return whether a snapshot's contents belong to these stores.

    A store that it does not have begins empty.
    """
    for log in changelogs:
        shape = manifest.stores.get(log.store, "")
        if shape and log.shape and shape != log.shape:
            return False
        if log.store in manifest.position.changelogs:
            known = manifest.position.topic_ids.get(log.store, "")
            if not known or known != log.topic_id:
                return False
    return True
