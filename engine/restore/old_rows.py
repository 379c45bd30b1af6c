"""Rows in a changelog that an earlier version of the program left there, before it went on without the store.

The last version that committed offsets of the task does not list the store (`engine/tasks/listed_stores.py`). Such a
store is restored from the beginning of its changelog, whatever the disk or a snapshot has of it; if it has rows then,
the start is refused. A record counts as old if its commit is one that succeeded, and not one of this version that was
lost: under exactly-once each record that is read is, under at-least-once the input offsets in its headers tell.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...operators.record import Batch
from ...state.changelog import behind
from ..errors import Fatal
from .opening import Opening

__all__ = ["old_records", "refuse_old_rows"]


def old_records(store: str, batch: Batch, committed: Mapping[str, int]) -> int:
    """Return how many records of a batch set a row and are of a former version."""
    values, headers = batch.values, batch.headers
    if headers is None:
        return len(values) - values.count(None)
    found = zip(values, headers, strict=True)
    return sum(value is not None and behind(store, pairs, committed) for value, pairs in found)


def refuse_old_rows(app_id: str, opening: Opening) -> None:
    """Raise Fatal if an unlisted store has rows of a former version, when all its records are replayed."""
    for cursor in opening.cursors:
        if not cursor.old or next(cursor.into.scan(cursor.store, b"", None), None) is None:
            continue
        topic = opening.subtopology.changelogs[cursor.store]
        raise Fatal(
            f"store {cursor.store!r} of task {opening.task} would begin with old rows: partition "
            f"{opening.task.partition} of its changelog topic {topic!r} has {cursor.old:,} records of an earlier "
            "version of the program, and the version that committed the offsets last had no such store: what it "
            "processed is missing in these rows. Stop all instances. To begin with an empty store, run `tidemill reset "
            f"{app_id} --topic {topic} --empty`. To begin with the old rows as they are, run `tidemill reset {app_id} "
            f"--topic {topic}`"
        )
