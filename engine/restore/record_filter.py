"""Which records of a changelog count, for changelogs that are written at least once.

A record counts when the committed offsets of its task's inputs reach as far as those in its header. One that reaches
further is of a commit that was lost, or is not finished: a restore leaves it out, a copy waits with it and with what
follows. A record does not count either when its writer was not the owner any more: the header says where the changelog
ended when the writer took the task over, and in which generation, so of two writers the later one is known.
"""

from __future__ import annotations

from ...operators.record import Batch
from ...state import changelog
from ...state.store import Change, Writer
from .opening import Feed

__all__ = ["Overtaken", "counting"]


class Overtaken(Exception):
    """Records were applied that a later writer's say do not count: the store must be begun again, knowing of it."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self.writer = writer


def counting(feed: Feed, batch: Batch) -> tuple[list[Change], Batch | None]:
    """The changes of a batch that count, and the part of it that has to wait. Moves the feed on. Raises Overtaken."""
    inputs = feed.inputs
    if batch.offsets[-1] + 1 - feed.position != len(batch.offsets):
        # The broker has compacted it: what a record that does not count had replaced may be gone, and leaving that one
        # out would lose both. What is left counts, though its inputs may be processed again.
        inputs = None
        feed.inputs = feed.inputs if feed.follows else None
    if inputs is None:
        return everything(feed, batch), None
    changes: list[Change] = []
    for index, key in enumerate(batch.keys):
        offset = batch.offsets[index]
        headers = batch.headers[index] if batch.headers is not None else ()
        covered = changelog.covered(feed.store, headers, inputs)
        if feed.follows and not covered:
            feed.position = offset
            return changes, batch.after(index - 1)
        change = changelog.decode(feed.store, key, batch.values[index], headers)
        stale = overtaken(feed, offset, changelog.writer_of(feed.store, headers))
        assert change is not None
        assert key is not None
        if covered and not stale:
            changes.append(change)
            feed.unsure.pop(key, None)
            continue
        feed.unsure[key] = None
        if not stale and feed.left_out is None:
            feed.left_out = offset
    feed.position = batch.offsets[-1] + 1
    return changes, None


def everything(feed: Feed, batch: Batch) -> list[Change]:
    """The changes of a batch of which all count."""
    feed.position = batch.offsets[-1] + 1
    changes: list[Change] = []
    for key, value in zip(batch.keys, batch.values, strict=True):
        change = changelog.decode(feed.store, key, value)
        assert change is not None
        changes.append(change)
    if feed.unsure:
        for change in changes:
            feed.unsure.pop(change.key, None)
    return changes


def overtaken(feed: Feed, offset: int, writer: Writer | None) -> bool:
    """Whether somebody had taken over from the writer of a record before it was written."""
    if writer is None:
        return False
    for later in (feed.writer, feed.newest):
        if later is not None and writer < later and later.since <= offset:
            return True
    if feed.newest is None or writer > feed.newest:
        if feed.newest is not None and feed.taken >= writer.since:
            raise Overtaken(writer)
        feed.newest = writer
    feed.taken = offset
    return False
