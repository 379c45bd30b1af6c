"""Which snapshots and files are not needed any more, and when they may be deleted. Pure.

The newest `keep` snapshots of the changelog topics that the task has now are kept, with every file that they name, and
so is the one that committed offsets name. The rest is first condemned, and deleted when it has been so for `GRACE_MS`
without a break.

    a snapshot is kept        ──▶ superseded ──▶ condemned ── GRACE_MS ──▶ its manifest is deleted, then its files
    a file is named by none and the attempt that uploaded it began ORPHAN_MS ago ──▶ condemned ── GRACE_MS ──▶ deleted

A snapshot that a savepoint names is kept as well. The manifest of a savepoint is written within `PIN_MS` of the first
snapshot that it names, so no such snapshot has been condemned for long enough before the savepoint is there.

Why a file that a snapshot names is never deleted, however long any process stands still between its look and its
delete: a new snapshot names only files that it has uploaded itself, and files of the newest snapshot (`newest`) as it
was at most half of `GRACE_MS` before the manifest was written. A file that was condemned was not named by the newest
snapshot then, so a snapshot that names it again was written within `GRACE_MS` of that look, and the process that
is about to delete the file has looked once more after that time. That look is what `condemn` is called with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from .choice import Found
from .manifest import attempt_time, manifest_name

__all__ = ["GRACE_MS", "ORPHAN_MS", "PIN_MS", "Present", "condemn", "due", "newest"]

GRACE_MS = 60 * 60 * 1000
ORPHAN_MS = 24 * 60 * 60 * 1000
"""An attempt takes half of this at the most, or is given up."""
PIN_MS = GRACE_MS // 2
"""An attempt to make a savepoint takes no longer from its first snapshot on, or is given up."""


class Present(msgspec.Struct, frozen=True):
    """What is in the snapshot store of a task."""

    snapshots: tuple[Found, ...]
    unreadable: Collection[int]
    """The numbers of manifests that cannot be read."""
    files: Collection[str]
    """The paths of the files."""


def newest(snapshots: Iterable[Found], topic_ids: Mapping[str, str]) -> Found | None:
    """Return the newest snapshot of these changelog topics."""
    mine = [found for found in snapshots if found.manifest.position.topic_ids == topic_ids]
    return max(mine, key=lambda found: found.number, default=None)


def condemn(
    present: Present,
    topic_ids: Mapping[str, str],
    keep: int,
    before: Mapping[str, int],
    now: int,
    wall: int,
    pinned: Collection[int] = (),
) -> dict[str, int]:
    """Return the paths that are not needed, each with the time since when that has been so.

    `topic_ids` are those of the task's changelogs, `before` is what the last call has given. `now` is by a clock that
    does not go back, `wall` is the wall clock's time. `pinned` are the numbers of snapshots that savepoints name, and
    of the one that committed offsets name: newer ones may be of commits that failed.
    """
    mine = sorted(
        (found for found in present.snapshots if found.manifest.position.topic_ids == topic_ids),
        key=lambda found: found.number,
        reverse=True,
    )
    kept = {*pinned, *(found.number for found in mine[:keep])}
    highest = max([found.number for found in present.snapshots] + list(present.unreadable), default=0)
    old = [found for found in present.snapshots if found.number not in kept and found.number != highest]
    needed = {path for found in present.snapshots if found not in old for path in found.manifest.paths}
    named = {path for found in old for path in found.manifest.paths}
    loose = {path for path in present.files if path not in named and _abandoned(path, wall)}
    unreadable = (number for number in present.unreadable if number != highest and number not in kept)
    numbers = [*(found.number for found in old), *unreadable]
    paths = {*map(manifest_name, numbers), *(named & set(present.files)), *loose} - needed
    return {path: before.get(path, now) for path in sorted(paths)}


def due(condemned: Mapping[str, int], now: int) -> list[str]:
    """Return the files that may be deleted, the manifests first.

    In this order, no manifest that is there names a file that is gone.
    """
    found = [path for path, since in condemned.items() if now - since >= GRACE_MS]
    return sorted(found, key=lambda path: (not path.endswith(".json"), path))


def _abandoned(path: str, wall: int) -> bool:
    """Whether no attempt can still name a file that no snapshot names."""
    begun = attempt_time(path)
    return begun is not None and wall - begun > ORPHAN_MS
