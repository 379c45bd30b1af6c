"""Feeds changelogs into stores: decides where each replay begins, applies what arrives, knows what is missing.

Raw bytes go from Kafka into a store in one atomic write a batch, with the position they lead to. Which tasks are fed,
and what happens to them then, is decided in `recovery.py`.

A store is complete when it has been fed up to where its changelog ended at a time that is known; that time is written
into it. A copy, which is fed without an end, is measured against a new end now and then. One that was not complete for
longer than deletions are kept, because its process stood still or Kafka was away, has its start decided again. So has a
restore that takes longer than that: what it read first may have been deleted since, and the deletion be gone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ...operators.record import Batch
from ...state.input_names import committed_inputs
from ...state.restore import Corrupt, Decision, Rebuild, UseLocal, misses_records, outdated, plan_restore
from ...state.store import TOMBSTONES_KEPT_MS, Position, Store, Writer
from ..clock import Clock
from ..errors import Retryable
from ..failpoints import hit
from ..ids import TaskId
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.errors import OffsetGone
from ..kafka.topics import Topics
from ..tasks.changelog_ownership import Authorship
from .open_transactions import Waits
from .opening import Feed, Opening
from .record_filter import Overtaken, counting

__all__ = ["Feeding", "StartAgain"]

LOG = logging.getLogger("tidemill.recovery")
Key = tuple[str, int]
BATCH = 5_000
MOST_HELD = 50_000
"""How many records of a changelog a copy keeps in memory while it waits for their commit. More are read again later."""
MEASURE_MS = 60_000
"""How often the ends are asked for that copies are measured against."""


class StartAgain(Exception):
    """Where the replays begin has to be decided again, from what the stores hold; the text says why."""


class Feeding:
    """The changelog partitions that are being read, and the stores they go into."""

    def __init__(self, reader: ChangelogReader, topics: Topics, clock: Clock, at_least_once: bool) -> None:
        self._reader = reader
        self._topics = topics
        self._clock = clock
        self._at_least_once = at_least_once
        self._feeds: dict[Key, Feed] = {}
        self._measured = clock.monotonic()
        self._waits = Waits(clock)

    def __bool__(self) -> bool:
        """True while anything is read."""
        return bool(self._feeds)

    @property
    def restoring(self) -> bool:
        """True while a changelog that has an end is read."""
        return any(not feed.follows for feed in self._feeds.values())

    def add(self, openings: Iterable[Opening], generation: int = -1) -> None:
        """Begins to feed the stores of these tasks. Raises Retryable, and nothing is begun.

        `generation` is one of the group in which the process has those that are not copies.
        """
        openings = list(openings)
        keys = [(topic, o.task.partition) for o in openings for topic in o.part.changelogs.values()]
        now = self._clock.now()
        begins = self._topics.begins(keys)
        ends = self._topics.ends(keys, committed=False)
        kept = self._kept(openings, begins, ends)
        feeds: dict[Key, Feed] = {}
        for opening in openings:
            committed = {} if opening.standby else committed_inputs(opening.offsets, opening.topic_ids)
            counted = opening.covered if opening.standby else committed
            if self._at_least_once and not opening.standby:
                ended = {store: ends[topic, opening.task.partition] for store, topic in opening.part.changelogs.items()}
                writers = {store: Writer(end, generation) for store, end in ended.items()}
                opening.authorship = Authorship(writers, ended)
            for store, topic in opening.part.changelogs.items():
                key = (topic, opening.task.partition)
                into, begin, end = stores_of(opening)[store], begins[key], ends[key]
                lasting = kept.get(topic, TOMBSTONES_KEPT_MS)
                topic_id = opening.topic_ids.get(topic, "")
                decision = plan_restore(store, into.position(), begin, end, committed, now, lasting, topic_id)
                start = self._begun(opening, store, into, begin, end, decision, now)
                last = into.position().complete.get(store, now)
                if topic_id != into.position().topic_ids.get(store, ""):
                    into.apply((), Position(topic_ids={store: topic_id}))
                feed = Feed(
                    opening.task,
                    store,
                    into,
                    begins[key],
                    start,
                    ends[key],
                    counted if self._at_least_once else None,
                    follows=opening.standby,
                    writer=into.position().writers.get(store),
                    asked=now,
                    complete=last if misses_records(start, end) else now,
                    kept=lasting,
                )
                opening.log_size += ends[key] - begins[key]
                if feed.position >= feed.target:
                    self._completed(feed)
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
        """Applies what the changelogs deliver; gives the records applied by task, 0 for one that only moved on.

        Raises StartAgain when what was delivered cannot be applied to the stores as they are. Raises Retryable, and
        nothing was delivered.
        """
        self._measure()
        try:
            polled = self._reader.poll(BATCH, timeout)
        except (OffsetGone, Retryable) as failure:  # what other partitions delivered is lost with it
            raise StartAgain(str(failure)) from failure
        now = self._clock.now()
        for (topic, number), feed in self._feeds.items():
            late = outdated(feed.complete, now, feed.patience)
            if late and feed.follows:
                raise StartAgain(f"the copy of task {feed.task}, topic {topic!r}, partition {number}: {late}")
            if late and not feed.done:
                raise StartAgain(
                    f"the restore of task {feed.task}, topic {topic!r}, partition {number} takes too long: {late}. If "
                    "it cannot be quicker, raise delete.retention.ms of the topic"
                )
        moved: dict[TaskId, int] = {}
        for batch in polled.batches:
            feed = self._feeds.get((batch.topic, batch.partition))
            if feed is not None and not feed.stopped:
                moved[feed.task] = moved.get(feed.task, 0) + self._apply(feed, batch)
        for key, end in polled.ends.items():
            feed = self._feeds.get(key)
            if feed is not None and end > feed.position and not (feed.held or feed.stopped):
                feed.position = end
                moved.setdefault(feed.task, 0)
                self._completed(feed)
        return moved

    def _apply(self, feed: Feed, batch: Batch) -> int:
        """Takes what a changelog delivered, as far as it counts; gives how many records that were."""
        if feed.held:
            feed.held.append(batch)
            if sum(len(one.offsets) for one in feed.held) > MOST_HELD:
                feed.held, feed.stopped = [], True
                self._reader.unassign([(batch.topic, batch.partition)])
            return 0
        try:
            changes, rest = counting(feed, batch)
        except Overtaken as found:
            feed.into.clear(feed.store)
            feed.into.apply([], Position(writers={feed.store: found.writer}))
            raise StartAgain(
                f"task {feed.task}: the changelog of store {feed.store!r} has records of a process that wrote after "
                f"offset {found.writer.since}, when another one had taken the task over"
            ) from found
        if rest is not None:
            feed.held.append(rest)
        hit("during-restore")
        newest = {feed.store: feed.newest} if feed.newest is not None else {}
        feed.into.apply(changes, Position({feed.store: reached(feed)}, writers=newest))
        self._completed(feed)
        return len(changes)

    def say_what_waits(self) -> None:
        """Says which restores wait for transactions that are open, when they have waited for long."""
        feeds = {key: feed for key, feed in self._feeds.items() if not feed.done and not feed.follows}
        stable = self._topics.ends(feeds, committed=True)
        self._waits.seen({k: f.position for k, f in feeds.items()}, stable, {k: f.target for k, f in feeds.items()})

    def waiting(self) -> list[TaskId]:
        """Copies that wait to know whether what they have read was committed."""
        return list({feed.task: None for feed in self._feeds.values() if feed.held or feed.stopped})

    def committed(self, copy: Opening) -> None:
        """Goes on with a copy, of whose inputs more may be committed. Raises StartAgain."""
        for key, feed in self._feeds.items():
            if feed.task == copy.task:
                feed.inputs, held, feed.held = copy.covered, feed.held, []
                for batch in held:
                    self._apply(feed, batch)
                if feed.stopped:
                    feed.stopped = False
                    self._reader.assign({key: feed.position})

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
    def _completed(feed: Feed) -> None:
        """Keeps that a store is complete, if it has reached its target and that is news."""
        if feed.position >= feed.target and feed.asked:
            feed.complete, feed.asked = feed.asked, 0
            feed.into.apply([], Position({feed.store: reached(feed)}, complete={feed.store: feed.complete}))

    def _measure(self) -> None:
        """Asks now and then where the changelogs of copies end: there the copies are complete again."""
        if self._clock.monotonic() - self._measured < MEASURE_MS:
            return
        self._measured = self._clock.monotonic()
        keys = [key for key, feed in self._feeds.items() if feed.follows]
        now = self._clock.now()
        for key, end in self._topics.ends(keys, committed=False).items():
            feed = self._feeds[key]
            if end < feed.position:
                raise StartAgain(f"topic {key[0]!r}, partition {key[1]} has lost records: it ends at {end} now")
            feed.target, feed.asked = end, now
            self._completed(feed)

    def _kept(
        self, openings: Iterable[Opening], begins: Mapping[Key, int], ends: Mapping[Key, int]
    ) -> Mapping[str, int]:
        """How long the changelogs keep deletions, as far as that is needed."""
        needed: set[str] = set()
        for opening in openings:
            stores = stores_of(opening)
            for store, topic in opening.part.changelogs.items():
                local = stores[store].position()
                key = (topic, opening.task.partition)
                begun = local.changelogs.get(store)
                missing = misses_records(begins[key] if begun is None else begun, ends[key])
                if opening.standby or (missing and (begun is None or store in local.complete)):
                    needed.add(topic)
        return self._topics.deletions_kept(sorted(needed)) if needed else {}

    @staticmethod
    def _begun(opening: Opening, store: str, into: Store, begin: int, end: int, decision: Decision, now: int) -> int:
        """Where the replay of a changelog begins. A store that begins empty misses nothing from now on."""
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
                writers = {store: writer} if (writer := into.position().writers.get(store)) else {}
                into.clear(store)
                into.apply([], Position({store: offset}, complete={store: now}, writers=writers))
                return offset
            case Corrupt(why):
                LOG.warning(
                    "task %s: store %r cannot be used: %s; restoring it from its changelog", opening.task, store, why
                )
                into.clear(store)
                into.apply([], Position({store: begin}, complete={store: now}))
                return begin


def stores_of(opening: Opening) -> dict[str, Store]:
    """The store of a task that has each of its stores, by their names."""
    return {state.spec.name: opening.stores[state.spec.kind] for state in opening.part.stores}


def reached(feed: Feed) -> int:
    """The offset that a store is said to have: not beyond what was left out of it."""
    return feed.position if feed.left_out is None else feed.left_out
