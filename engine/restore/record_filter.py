"""The decisions which records of a changelog are valid, and which are old.

Under at-least-once, a record is valid if the committed offsets of its task's inputs cover the offsets in its header.
A record beyond them belongs to a commit that was lost or has not finished: a restore skips it, a standby holds it and
the following records back. A record is not valid either if its writer was no longer the owner of the task. The header
has the end offset of the changelog when the writer took the task over, and the generation, so the later one of two
writers is known.

A store that the version which committed the offsets did not have (`engine/tasks/store_schemas.py`) is restored from the
beginning of its changelog, whatever the disk or a snapshot has of it. If it has rows of an earlier version then, the
start is refused. A record is of one if its commit has succeeded, and was not a lost one of this version: under
exactly-once each record that is read is, under at-least-once the offsets in its header tell.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...operators.record import Batch
from ...state import changelog
from ...state.changes import Changes
from ...state.store import Change, WriterId
from ..errors import Fatal
from .opening import Opening, ReplayCursor

__all__ = ["SupersededRecords", "old_records", "refuse_old_rows", "valid_changes"]


class SupersededRecords(Exception):
    """Raised if a later writer makes applied records invalid; the store must be rebuilt."""

    def __init__(self, writer: WriterId) -> None:
        super().__init__(writer)
        self.writer = writer


def valid_changes(cursor: ReplayCursor, batch: Batch) -> tuple[Changes, Batch | None]:
    """Return the valid changes of a batch and the part to hold back.

    Advances the cursor. Raises SupersededRecords.
    """
    inputs = cursor.inputs
    if batch.offsets[-1] + 1 - cursor.position != len(batch.offsets):
        # The changelog was compacted: the record that an invalid one replaced may be gone, and skipping the invalid one
        # would lose both. So all remaining records are valid, though their inputs may be processed again.
        inputs = None
        cursor.inputs = cursor.inputs if cursor.follows else None
    if inputs is None:
        return all_changes(cursor, batch), None
    changes: list[Change] = []
    for index, key in enumerate(batch.keys):
        offset = batch.offsets[index]
        headers = batch.headers[index] if batch.headers is not None else ()
        covered = changelog.covered(cursor.store, headers, inputs)
        if cursor.follows and not covered:
            cursor.position = offset
            return Changes.of(changes), batch.after(index - 1)
        change = changelog.decode(cursor.store, key, batch.values[index], headers)
        stale = superseded(cursor, offset, changelog.writer_of(cursor.store, headers))
        assert change is not None
        assert key is not None
        if covered and not stale:
            changes.append(change)
            cursor.unsure.pop(key, None)
            continue
        cursor.unsure[key] = None
        if not stale and cursor.left_out is None:
            cursor.left_out = offset
    cursor.position = batch.offsets[-1] + 1
    return Changes.of(changes), None


def all_changes(cursor: ReplayCursor, batch: Batch) -> Changes:
    """Return the changes of a batch in which all records are valid."""
    cursor.position = batch.offsets[-1] + 1
    column = changelog.decode_column(cursor.store, batch.keys, batch.values)
    if cursor.unsure:
        for key in column.keys:
            cursor.unsure.pop(key, None)
    return Changes((column,))


def superseded(cursor: ReplayCursor, offset: int, writer: WriterId | None) -> bool:
    """Return whether the writer of a record had lost the task before it wrote the record."""
    if writer is None:
        return False
    for later in (cursor.writer, cursor.newest):
        if later is not None and writer < later and later.since <= offset:
            return True
    if cursor.newest is None or writer > cursor.newest:
        if cursor.newest is not None and cursor.taken >= writer.since:
            raise SupersededRecords(writer)
        cursor.newest = writer
    cursor.taken = offset
    return False


def old_records(store: str, batch: Batch, committed: Mapping[str, int]) -> int:
    """Return how many records of a batch set a row and are of a former version."""
    values, headers = batch.values, batch.headers
    if headers is None:
        return len(values) - values.count(None)
    found = zip(values, headers, strict=True)
    return sum(value is not None and changelog.behind(store, pairs, committed) for value, pairs in found)


def refuse_old_rows(app_id: str, opening: Opening) -> None:
    """Raise Fatal if a replayed, unlisted store has rows of a former version."""
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
