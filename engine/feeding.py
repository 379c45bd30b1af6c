"""Feeds changelogs into stores: decides where each replay begins, applies what arrives, knows what is missing.

Raw bytes go from Kafka into a store in one atomic write a batch, with the position they lead to. Which tasks are fed,
and what happens to them then, is decided in `recovery.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ..state import changelog
from ..state.inputs import committed_inputs
from ..state.restore import Corrupt, Decision, Rebuild, UseLocal, plan_restore
from ..state.store import Change, Position, Store
from .failpoints import hit
from .ids import TaskId
from .kafka.restorer import ChangelogReader
from .kafka.topics import Topics
from .opening import Feed, Opening

__all__ = ["Feeding"]

LOG = logging.getLogger("tidemill.recovery")
Key = tuple[str, int]
BATCH = 5_000


class Feeding:
    """The changelog partitions that are being read, and the stores they go into."""

    def __init__(self, reader: ChangelogReader, topics: Topics, at_least_once: bool) -> None:
        self._reader = reader
        self._topics = topics
        self._at_least_once = at_least_once
        self._feeds: dict[Key, Feed] = {}

    def __bool__(self) -> bool:
        """True while anything is read."""
        return bool(self._feeds)

    @property
    def restoring(self) -> bool:
        """True while a changelog that has an end is read."""
        return any(not feed.follows for feed in self._feeds.values())

    def add(self, openings: Iterable[Opening]) -> None:
        """Begins to feed the stores of these tasks. Raises Retryable, and nothing is begun."""
        openings = list(openings)
        keys = [(topic, o.task.partition) for o in openings for topic in o.part.changelogs.values()]
        begins = self._topics.begins(keys)
        ends = self._topics.ends(keys, committed=False)
        feeds: dict[Key, Feed] = {}
        for opening in openings:
            committed = committed_inputs(opening.offsets, opening.topic_ids)
            kinds = {state.spec.name: state.spec.kind for state in opening.part.stores}
            for store, topic in opening.part.changelogs.items():
                key = (topic, opening.task.partition)
                into = opening.stores[kinds[store]]
                topic_id = opening.topic_ids.get(topic, "")
                start = self._start_of(opening, store, into, begins[key], ends[key], committed, topic_id)
                feed = Feed(
                    opening.task,
                    store,
                    into,
                    begins[key],
                    start,
                    ends[key],
                    committed if self._at_least_once and not opening.standby else None,
                    follows=opening.standby,
                )
                opening.log_size += ends[key] - begins[key]
                if not feed.done:
                    opening.feeds.append(feed)
                    opening.total += feed.target - feed.position
                    feeds[key] = feed
        self._reader.assign({key: feed.position for key, feed in feeds.items()})
        self._feeds.update(feeds)

    def remove(self, task: TaskId) -> None:
        """Stops feeding a task's stores."""
        keys = [key for key, feed in self._feeds.items() if feed.task == task]
        self._reader.unassign(keys)
        for key in keys:
            del self._feeds[key]

    def step(self, timeout: float) -> dict[TaskId, int]:
        """Applies what the changelogs deliver; gives the records applied by task, 0 for one that only moved on."""
        polled = self._reader.poll(BATCH, timeout)
        moved: dict[TaskId, int] = {}
        for batch in polled.batches:
            feed = self._feeds.get((batch.topic, batch.partition))
            if feed is None:
                continue
            if batch.offsets[-1] + 1 - feed.position != len(batch.offsets):
                # The broker has compacted it: what a change beyond the committed offsets had replaced may be gone, and
                # leaving that change out would lose both. What is left counts, though its inputs are processed again.
                feed.inputs = None
            changes: list[Change] = []
            for index, key in enumerate(batch.keys):
                headers = batch.headers[index] if batch.headers is not None else ()
                change = changelog.decode(feed.store, key, batch.values[index], headers, feed.inputs)
                if change is not None:
                    changes.append(change)
                elif feed.left_out is None:
                    feed.left_out = batch.offsets[index]
            hit("during-restore")
            feed.position = batch.offsets[-1] + 1
            reached = feed.position if feed.left_out is None else feed.left_out
            feed.into.apply(changes, Position({feed.store: reached}, {}))
            moved[feed.task] = moved.get(feed.task, 0) + len(batch.offsets)
        for key, end in polled.ends.items():
            feed = self._feeds.get(key)
            if feed is not None and end > feed.position:
                feed.position = end
                moved.setdefault(feed.task, 0)
        return moved

    def lags(self) -> dict[TaskId, int]:
        """How many records each task that is fed is behind, as far as is known."""
        lags: dict[TaskId, int] = {}
        for key, feed in self._feeds.items():
            end = max(feed.target, self._reader.end(key)) if feed.follows else feed.target
            lags[feed.task] = lags.get(feed.task, 0) + max(0, end - feed.position)
        return lags

    def close(self) -> None:
        """Stops reading."""
        self._reader.close()

    @staticmethod
    def _start_of(
        opening: Opening,
        store: str,
        into: Store,
        begin: int,
        end: int,
        committed: Mapping[str, int],
        topic_id: str,
    ) -> int:
        """Where the replay of a changelog begins. The store knows then which topic its position is of."""
        decision = plan_restore(store, into.position(), begin, end, committed, opening.age, topic_id=topic_id)
        start = Feeding._begun(opening, store, into, begin, end, decision)
        if topic_id != into.position().topic_ids.get(store, ""):
            into.apply((), Position(topic_ids={store: topic_id}))
        return start

    @staticmethod
    def _begun(opening: Opening, store: str, into: Store, begin: int, end: int, decision: Decision) -> int:
        match decision:
            case UseLocal(offset):
                return offset
            case Rebuild(offset, why):
                if end > begin:
                    LOG.info(
                        "task %s: store %r is restored from the beginning of its changelog: %s",
                        opening.task,
                        store,
                        why,
                    )
                into.clear(store)
                return offset
            case Corrupt(why):
                LOG.warning(
                    "task %s: store %r cannot be used: %s; restoring it from its changelog", opening.task, store, why
                )
                into.clear(store)
                return begin
