"""Replays changelogs into stores: decides where each replay starts, and applies records.

Raw bytes go from Kafka into a store in one atomic write per batch, with the position they lead to. `recovery.py`
decides which tasks are replayed, and what happens to them afterwards.

A store is complete as of a known time when it has been replayed up to the end that its changelog had then; that time is
written into the store. The target of a standby, which is replayed without an end, is set to the current end
periodically. If a standby was incomplete for longer than tombstones are kept, because its process was suspended or
Kafka was unavailable, the start of its replay is determined again. So is that of a restore that takes longer: keys that
it read first may have been deleted since, and their tombstones may be gone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ...operators.record import Batch
from ...state.input_names import committed_inputs
from ...state.restore import Decision, Rebuild, RebuildCorrupt, UseLocal, misses_records, outdated, plan_restore
from ...state.store import TOMBSTONES_KEPT_MS, Position, Store, WriterId
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import Retryable
from ..failpoints import hit
from ..ids import TaskId
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.errors import OffsetGone
from ..kafka.topics import Topics
from ..tasks.changelog_ownership import ChangelogOwnership
from .open_transactions import OpenTransactionWarnings
from .opening import Opening, ReplayCursor
from .record_filter import SupersededRecords, old_records, valid_changes

__all__ = ["Replay", "ReplayRestart"]

LOG = logging.getLogger("tidemill.recovery")
BATCH = 5_000
LOADING = 200_000
"""A replay of more records than this is worth two openings of the store, in which it takes records faster."""
MOST_HELD = 50_000
"""How many changelog records a standby holds in memory until they are committed."""
MEASURE_MS = 60_000
"""How often the targets of standbys are set to the current ends."""


class ReplayRestart(Exception):
    """Raised if all replays must restart from the state of their stores, with the reason."""


class Replay:
    """The replays in progress: changelog partitions and the stores they are read into."""

    def __init__(self, reader: ChangelogReader, topics: Topics, clock: Clock, at_least_once: bool) -> None:
        self._reader = reader
        self._topics = topics
        self._clock = clock
        self._at_least_once = at_least_once
        self._cursors: dict[TopicPartition, ReplayCursor] = {}
        self._measured = clock.monotonic()
        self._waits = OpenTransactionWarnings(clock)

    def __bool__(self) -> bool:
        """Return whether any changelog is being read."""
        return bool(self._cursors)

    @property
    def restoring(self) -> bool:
        """True while a changelog is read up to an end."""
        return any(not cursor.follows for cursor in self._cursors.values())

    def add(self, openings: Iterable[Opening]) -> None:
        """Start the replays of these tasks. If it raises Retryable, none has started."""
        openings = list(openings)
        keys = [(topic, o.task.partition) for o in openings for topic in o.subtopology.changelogs.values()]
        now = self._clock.now()
        begins = self._topics.begins(keys)
        ends = self._topics.ends(keys, committed=False)
        kept = self._kept(openings, begins, ends)
        cursors: dict[TopicPartition, ReplayCursor] = {}
        for opening in openings:
            committed = {} if opening.standby else committed_inputs(opening.positions, opening.topic_ids)
            counted = opening.covered if opening.standby else committed
            if self._at_least_once and not opening.standby:
                ended = {
                    store: ends[topic, opening.task.partition]
                    for store, topic in opening.subtopology.changelogs.items()
                }
                writers = {store: WriterId(end, opening.generation) for store, end in ended.items()}
                opening.changelog_ownership = ChangelogOwnership(writers, ended)
            for store, topic in opening.subtopology.changelogs.items():
                key = (topic, opening.task.partition)
                into, begin, end = stores_of(opening)[store], begins[key], ends[key]
                lasting = kept.get(topic, TOMBSTONES_KEPT_MS)
                topic_id, unlisted = opening.topic_ids.get(topic, ""), store in opening.unlisted
                decision = plan_restore(store, into.position(), begin, end, committed, now, lasting, topic_id, unlisted)
                start = self._begun(opening, store, into, begin, end, decision, now)
                last = into.position().complete.get(store, now)
                if topic_id != into.position().topic_ids.get(store, ""):
                    into.apply((), Position(topic_ids={store: topic_id}))
                cursor = ReplayCursor(
                    opening.task,
                    store,
                    into,
                    begins[key],
                    start,
                    ends[key],
                    counted if self._at_least_once else None,
                    follows=opening.standby,
                    unlisted=committed if unlisted else None,
                    writer=into.position().writers.get(store),
                    asked=now,
                    complete=last if misses_records(start, end) else now,
                    kept=lasting,
                )
                opening.log_size += ends[key] - begins[key]
                if cursor.position >= cursor.target:
                    self._completed(cursor)
                if not cursor.done:
                    opening.cursors.append(cursor)
                    opening.total += cursor.target - cursor.position
                    cursors[key] = cursor
            if sum(cursor.target - cursor.position for cursor in opening.cursors) > LOADING:
                for into in opening.stores.values():
                    into.set_loading(True)
        self._reader.assign({key: cursor.position for key, cursor in cursors.items()})
        self._cursors.update(cursors)

    def remove(self, task: TaskId) -> None:
        """Stop the replays of a task."""
        keys = [key for key, cursor in self._cursors.items() if cursor.task == task]
        self._reader.unassign(keys)
        for key in keys:
            del self._cursors[key]

    def step(self, timeout: float) -> dict[TaskId, int]:
        """Apply fetched records; return their number by task.

        The number is 0 for a task that only advanced. Raises ReplayRestart if fetched records were lost or cannot be
        applied to the stores as they are, and Retryable if nothing was fetched.
        """
        self._measure()
        try:
            polled = self._reader.poll(BATCH, timeout)
        except (OffsetGone, Retryable) as failure:  # records fetched from other partitions are lost with it
            raise ReplayRestart(str(failure)) from failure
        now = self._clock.now()
        for (topic, number), cursor in self._cursors.items():
            late = outdated(cursor.complete, now, cursor.time_to_live)
            if late and cursor.follows:
                raise ReplayRestart(f"the standby of task {cursor.task}, topic {topic!r}, partition {number}: {late}")
            if late and not cursor.done:
                raise ReplayRestart(
                    f"the restore of task {cursor.task}, topic {topic!r}, partition {number} takes too long: {late}. "
                    "If it cannot be faster, raise delete.retention.ms of the topic"
                )
        moved: dict[TaskId, int] = {}
        for batch in polled.batches:
            cursor = self._cursors.get((batch.topic, batch.partition))
            if cursor is not None and not cursor.stopped:
                moved[cursor.task] = moved.get(cursor.task, 0) + self._apply(cursor, batch)
        for key, end in polled.ends.items():
            cursor = self._cursors.get(key)
            if cursor is not None and end > cursor.position and not (cursor.held or cursor.stopped):
                cursor.position = end
                moved.setdefault(cursor.task, 0)
                self._completed(cursor)
        behind = {cursor.task for cursor in self._cursors.values() if cursor.position < cursor.target}
        for cursor in self._cursors.values():
            if cursor.follows and cursor.task in moved.keys() - behind:
                cursor.into.set_loading(False)
        return moved

    def _apply(self, cursor: ReplayCursor, batch: Batch) -> int:
        """Apply the valid records of a batch; return their number."""
        if cursor.held:
            cursor.held.append(batch)
            if sum(len(one.offsets) for one in cursor.held) > MOST_HELD:
                cursor.held, cursor.stopped = [], True
                self._reader.unassign([(batch.topic, batch.partition)])
            return 0
        if cursor.unlisted is not None:
            cursor.old += old_records(cursor.store, batch, cursor.unlisted)
        try:
            changes, rest = valid_changes(cursor, batch)
        except SupersededRecords as found:
            cursor.into.clear(cursor.store)
            cursor.into.apply([], Position(writers={cursor.store: found.writer}))
            raise ReplayRestart(
                f"task {cursor.task}: the changelog of store {cursor.store!r} has records of a process that wrote "
                f"after offset {found.writer.since}, when another one had taken the task over"
            ) from found
        if rest is not None:
            cursor.held.append(rest)
        hit("during-restore")
        newest = {cursor.store: cursor.newest} if cursor.newest is not None else {}
        cursor.into.apply(changes, Position({cursor.store: reached(cursor)}, writers=newest))
        self._completed(cursor)
        return len(changes)

    def warn_of_open_transactions(self) -> None:
        """Warn about restores that have waited for open transactions for a long time."""
        cursors = {key: cursor for key, cursor in self._cursors.items() if not cursor.done and not cursor.follows}
        stable = self._topics.ends(cursors, committed=True)
        self._waits.seen({k: f.position for k, f in cursors.items()}, stable, {k: f.target for k, f in cursors.items()})

    def waiting(self) -> list[TaskId]:
        """Return the standbys that wait for the commit of records they have read."""
        return list({cursor.task: None for cursor in self._cursors.values() if cursor.held or cursor.stopped})

    def committed(self, copy: Opening) -> None:
        """Continue a standby after an update of its committed inputs. Raises ReplayRestart."""
        for key, cursor in self._cursors.items():
            if cursor.task == copy.task:
                cursor.inputs, held, cursor.held = copy.covered, cursor.held, []
                for batch in held:
                    self._apply(cursor, batch)
                if cursor.stopped:
                    cursor.stopped = False
                    self._reader.assign({key: cursor.position})

    def lags(self) -> dict[TaskId, int]:
        """Return the known lag of each task in records."""
        lags: dict[TaskId, int] = {}
        for key, cursor in self._cursors.items():
            end = max(cursor.target, self._reader.end(key)) if cursor.follows else cursor.target
            lags[cursor.task] = lags.get(cursor.task, 0) + max(0, end - cursor.position)
        return lags

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    @staticmethod
    def _completed(cursor: ReplayCursor) -> None:
        """Record in the store that it is complete, if it has newly reached its target."""
        if cursor.position >= cursor.target and cursor.asked:
            cursor.complete, cursor.asked = cursor.asked, 0
            cursor.into.apply([], Position({cursor.store: reached(cursor)}, complete={cursor.store: cursor.complete}))

    def _measure(self) -> None:
        """Set the targets of standbys to the current ends periodically; at these they are complete."""
        if self._clock.monotonic() - self._measured < MEASURE_MS:
            return
        self._measured = self._clock.monotonic()
        keys = [key for key, cursor in self._cursors.items() if cursor.follows]
        now = self._clock.now()
        for key, end in self._topics.ends(keys, committed=False).items():
            cursor = self._cursors[key]
            if end < cursor.position:
                raise ReplayRestart(f"topic {key[0]!r}, partition {key[1]} has lost records: its end is now {end}")
            cursor.target, cursor.asked = end, now
            self._completed(cursor)

    def _kept(
        self, openings: Iterable[Opening], begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Mapping[str, int]:
        """Return how long changelogs keep tombstones, for those where it matters."""
        needed: set[str] = set()
        for opening in openings:
            stores = stores_of(opening)
            for store, topic in opening.subtopology.changelogs.items():
                local = stores[store].position()
                key = (topic, opening.task.partition)
                begun = local.changelogs.get(store)
                missing = misses_records(begins[key] if begun is None else begun, ends[key])
                if opening.standby or (missing and (begun is None or store in local.complete)):
                    needed.add(topic)
        return self._topics.deletions_kept(sorted(needed)) if needed else {}

    @staticmethod
    def _begun(opening: Opening, store: str, into: Store, begin: int, end: int, decision: Decision, now: int) -> int:
        """Prepare a store for its replay; return the start offset. An empty one is complete now."""
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
            case RebuildCorrupt(why):
                LOG.warning(
                    "task %s: store %r cannot be used: %s; restoring it from its changelog", opening.task, store, why
                )
                into.clear(store)
                into.apply([], Position({store: begin}, complete={store: now}))
                return begin


def stores_of(opening: Opening) -> dict[str, Store]:
    """Return the `Store` that holds each store of a task, by store name."""
    return {state.spec.name: opening.stores[state.spec.kind] for state in opening.subtopology.stores}


def reached(cursor: ReplayCursor) -> int:
    """Return the position to write into a store: not beyond the first skipped change."""
    return cursor.position if cursor.left_out is None else cursor.left_out
