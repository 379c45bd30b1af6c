"""One sub-topology on one partition number, executing.

A task owns its stores, its input buffer and its operators, and touches no Kafka object: `offer` takes batches,
`advance` returns records to write, and `PreparedCommit` is what must be made durable, as a value.

    RUNNING --prepare_commit()--> RUNNING --complete_commit()--> RUNNING  a commit that succeeded
       '---close()--> CLOSED          '------discard()--> RUNNING        one that failed: back to what the stores hold
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

from ...operators.errors import RecordError
from ...operators.graph.calls import CallExecutor
from ...operators.graph.target import TargetWriters
from ...operators.graph.topology import Rows
from ...operators.policy import ErrorPolicy
from ...operators.record import Batch, Outgoing, Record
from ...state.changes import Changes
from ...state.store import Position, Store
from ...state.topic_partition import TopicPartition
from ...state.window_cache import cache_of
from ..counters import largest, summed
from ..dropped_records import SkippedRecords
from ..ids import TaskId
from ..plan.plan import SubTopology
from ..watermarks.row_positions import RowPositions, positions_in
from ..watermarks.watermarks import InputProgress
from .buffer import Run
from .changelog_ownership import ChangelogOwnership
from .decoding import InputReaders
from .operator_graph import OperatorGraph, Origin
from .prepared_commit import PreparedCommit, positions_to_commit, write_to_stores
from .roles import ACTIVE, Role
from .snapshot_marks import SnapshotMark
from .store_schemas import shapes_metadata
from .task_targets import TaskTargets, not_beyond
from .task_time import TaskTime
from .topic_ids import TopicIds

__all__ = ["PreparedCommit", "Task"]

NONE: Mapping[str, Any] = {}


class Task:
    """A sub-topology at work on one partition number."""

    def __init__(
        self,
        task: TaskId,
        subtopology: SubTopology,
        stores: Mapping[str, Store],
        offsets: Mapping[TopicPartition, int],
        policy: ErrorPolicy = ErrorPolicy.FAIL,
        stream_time: int = -1,
        fresh: frozenset[TopicPartition] = frozenset(),
        *,
        calls: CallExecutor,
        targets: TargetWriters | None = None,
        seen: Mapping[TopicPartition, InputProgress] | None = None,
        global_tables: Mapping[str, Rows] = NONE,
        topic_ids: Mapping[str, str] = NONE,
        changelog_ownership: ChangelogOwnership | None = None,
        mark: SnapshotMark | None = None,
        role: Role = ACTIVE,
    ) -> None:
        """Make a task with its open stores by kind; `offsets` are the next offsets of its inputs.

        The group has committed them, except those of `fresh` inputs, which the next commit includes. An input without
        an offset belongs to a topic that does not exist now. `seen` is the progress of the inputs up to those offsets.
        `global_tables` are by the names of their stores, `changelog_ownership` has the writer ids in changelogs under
        at-least-once, and `mark` names the snapshot with the content of stores without changelogs.
        """
        self.id = task
        self.subtopology = subtopology
        self.stores: Mapping[str, Store] = stores
        self.stream_time = stream_time
        self.records_in = 0
        self.unflushed = 0  # changes written to the stores since the last flush
        self.mark, self.role = mark, role
        self.ahead = False  # True while the stores contain a commit that has not succeeded yet
        self._name = str(task)
        self._kinds = {state.spec.name: state.spec.kind for state in subtopology.stores}
        self.caches = {s.spec.name: cache_of(stores[s.spec.kind], s.spec.name, s.codec) for s in subtopology.stores}
        kin = tuple(self.caches[state.spec.name] for state in subtopology.stores if not state.codec.exact)
        for cache in self.caches.values():
            cache.kin = kin
        self.inputs: tuple[TopicPartition, ...] = tuple(
            key for key in subtopology.task_inputs(task.partition) if key in offsets
        )
        self.topics = TopicIds(topic_ids, subtopology.changelogs)
        self._ownership = changelog_ownership or ChangelogOwnership()
        self._shapes = shapes_metadata(subtopology.program_stores)
        self._skips = SkippedRecords()
        to = TaskTargets(targets, topic_ids)
        self._new_graph = partial(
            OperatorGraph, subtopology, self.caches, policy, calls, global_tables, task.partition, self._skips, to
        )
        self._graph = self._new_graph()
        self._readers = InputReaders(subtopology, policy, self._skips, self._name)
        self._rows = RowPositions(subtopology.histories)
        self._committed_seen: dict[TopicPartition, InputProgress] = dict(seen or {})
        self._committed = self._rows.begun(offsets, self._committed_seen)
        self.time = TaskTime(subtopology, task.partition, self.inputs, self._committed_seen)
        self.time.resume(self._graph)
        self._buffer = self.time.buffer(subtopology)
        self._newest = self._readers.restore_newest(self.inputs, self._committed_seen)
        self._next: dict[TopicPartition, int] = {}
        self._fresh, self._unsaid = set(fresh), set(self._committed)
        self._prepared: PreparedCommit | None = None
        self._wrote = False  # whether there are outputs since the last commit
        self.origin = Origin(self._name, "", task.partition)  # of the last walk's records
        self.taken: Sequence[Record[Any, Any]] = ()  # the records of the last run
        self.taken_from: TopicPartition = ("", -1)
        self._earlier_misses, self._earlier_lateness = dict[str, int](), dict[str, int]()

    def offer(self, batch: Batch, now: int) -> None:
        """Add a batch to the input buffer, without the records that the task had before.

        Raises RecordError for a record that cannot be decoded, under `fail`.
        """
        key = (batch.topic, batch.partition)
        position = self._buffer.end(key)
        if position is None:
            position = self._positions()[key]
        expected = self._rows.offset(key, position)
        if batch.offsets[0] < expected:
            newer = batch.after(bisect_left(batch.offsets, expected) - 1)
            if newer is None:
                return
            batch = newer
        internal = key in self.time.histories or self._readers.is_internal(batch.topic)
        left, extra = self.time.take(key, batch) if internal else (batch, 0)
        end = self._rows.at(key, batch.offsets[-1] + 1)
        for found in self._readers.read(left, position, end, batch.size + extra, now):
            self._buffer.offer(key, *found)
        for cache in self.caches.values() if self._readers.odd_keys(batch.topic) else ():
            cache.by_bytes()

    def caught_up(self, key: TopicPartition, yes: bool, end: int = 0) -> None:
        """Set whether a partition has no more records at the moment, and need not be waited for.

        `end` is the offset up to which it was read: markers of transactions and aborted records before it count as
        processed with the records before them.
        """
        self._buffer.caught_up(key, yes and not self.time.histories.awaits(key))
        end = self._rows.at(key, end)
        if self._buffer.reached(key, end) and end > self._next.get(key, self._committed.get(key, end)):
            self._next[key] = end

    def await_input(self, key: TopicPartition, yes: bool) -> None:
        """Set whether an input has records that will be offered later, and is waited for."""
        self._buffer.await_input(key, yes or self.time.histories.awaits(key))

    def advance(
        self,
        now: int,
        limit: int | None = None,
        wait: bool = True,
        until: int | None = None,
        left_out: Set[tuple[str, int, int]] = frozenset(),
    ) -> list[Outgoing] | None:
        """Process the next run and return its output, or None if there is none to process.

        It has at most `limit` records and none after the time `until`. With `wait` false, empty inputs are not waited
        for. A task with the maximum number of pending calls processes nothing. Records in `left_out`, by topic,
        partition and offset, are skipped.
        """
        room = self._graph.room
        if room is not None:
            if room <= 0:
                return None
            limit = room if limit is None else min(limit, room)
        if (run := self._buffer.next_run(limit, wait, until)) is None:
            return None
        records = self.taken = run.records
        self.taken_from = (run.topic, run.partition)
        if left_out:
            records = [one for one in records if (run.topic, run.partition, one.offset) not in left_out]
        outgoing: list[Outgoing] = [] if self.time.begun else self.emit_marks(now)
        outgoing += self._run(run._replace(records=records), now)
        if records:
            newest = max([record.timestamp for record in records])
            if newest > self.stream_time:
                self.stream_time = newest
            self.records_in += len(records)
            key = (run.topic, run.partition)
            if newest > self._newest.get(key, newest):
                self._newest[key] = newest
        self._next[run.topic, run.partition] = run.next_offset
        self._wrote |= bool(outgoing)
        return outgoing

    def _run(self, run: Run, now: int) -> list[Outgoing]:
        """Walk records through the steps, and advance the watermark where it changes."""
        source = self._readers.node(run.topic)
        origin = self.origin = Origin(self._name, run.topic, run.partition)
        outgoing: list[Outgoing] = []
        for records, time, offset in self.time.stretches((run.topic, run.partition), run.records, run.next_offset, now):
            if records:
                outgoing += self._graph.run(source, records, now, origin)
            if time is not None:
                outgoing += self._graph.advance(time, offset, now, origin)
        return outgoing + self._emit_last_marks(now, origin)

    def _emit_last_marks(self, now: int, origin: Origin) -> list[Outgoing]:
        """Advance watermarks that were held back, as far as earlier records have been sent on."""
        time = self.time.now
        return [] if time is None or not self._graph.held else self._graph.advance(time, -1, now, origin)

    def tick(self, now: int, *, settle: bool = False) -> list[Outgoing]:
        """Let steps act on wall-clock time; with `settle`, bring them exactly to that of inputs."""
        origin = self.origin = Origin(self._name, "(wall clock)", self.id.partition, asked=True)
        outgoing = self._graph.tick(now, origin)
        if (time := self.time.settled() if settle else self.time.quiet(now, self._buffer.at_end)) is not None:
            outgoing += self._graph.advance(time, -1, now, origin)
        outgoing += self._emit_last_marks(now, origin) + self.emit_marks(now, at_once=settle)
        self._wrote |= bool(outgoing)
        return outgoing

    def emit_marks(self, now: int, *, at_once: bool = False) -> list[Outgoing]:
        """Return the marks of the task's time for the readers of its repartition topics."""
        return self.time.emit_marks(self._graph, self.stream_time, now, self._buffer.at_end, at_once=at_once)

    def reported_time(self) -> int:
        """Return the least time that the task's marks report; -1 if it is not known."""
        return self.time.own(self._graph, self.stream_time)

    @property
    def calling(self) -> int:
        """The number of records that wait for asynchronous calls."""
        return self._graph.waiting

    def collect(self, now: int, limit: int | None = None) -> list[Outgoing]:
        """Process the results of asynchronous calls, at most `limit` per step."""
        origin = self.origin = Origin(self._name, "(answers to calls)", self.id.partition, asked=True)
        outgoing = self._graph.collect(now, limit, origin) + self._emit_last_marks(now, origin)
        self._wrote |= bool(outgoing)
        return outgoing

    def before_commit(self, now: int) -> list[Outgoing]:
        """Return the output of results that have waited for the commit, which must follow."""
        origin = Origin(self._name, "(commit)", self.id.partition, asked=True)
        if outgoing := self._graph.before_commit(now, origin):
            self.origin, self._wrote = origin, True
        return outgoing

    def refuse(self, error: RecordError) -> None:
        """Skip the record of an output that Kafka rejects, or raise the error, by the step's policy."""
        self._graph.refuse(error, self.origin)

    def prepare_commit(self) -> PreparedCommit:
        """Drain the caches and return what must become durable. Runs no operator.

        Output without input goes with the committed offset of an input, by which Kafka refuses a zombie.
        """
        changes = Changes(column for cache in self.caches.values() for column in cache.drain().columns)
        changes += self._ownership.repairs(changes, lambda store, key: self.stores[self._kinds[store]].get(store, key))
        reached = not_beyond(self._positions(), self._graph.unwritten)
        positions = positions_to_commit(reached, self._committed, self._fresh, self._unsaid)
        if not positions and self.inputs and (changes or self._wrote):
            positions = {self.inputs[0]: self._committed[self.inputs[0]]}
        seen = {key: InputProgress(newest, -1) for key, newest in self._newest.items()}
        seen.update(self.time.seen())
        self.time.histories.mark(seen, self.positions())
        self._rows.mark(seen, positions)
        offsets = self._rows.offsets(positions)
        of = self.topics, self._ownership, self._shapes, self.mark, self.role
        self._prepared = PreparedCommit(self.id, offsets, changes, self.stream_time, seen, *of)
        return self._prepared

    def stand(self, role: Role) -> None:
        """Have the next commit say of all inputs that it has this role."""
        self.role, self._fresh = role, set(self._committed)

    def write_ahead(self, commit: str) -> None:
        """Write the prepared commit to the stores before it is made, for a snapshot of it."""
        assert self._prepared is not None
        self.ahead = True
        write_to_stores(self._prepared, self.stores, self._kinds, Position(commit=commit))

    def complete_commit(self, position: Position, as_of: int | None = None, mark: SnapshotMark | None = None) -> None:
        """Settle the prepared commit, which succeeded at `as_of`; `mark` names its snapshot."""
        prepared = self._prepared
        assert prepared is not None
        if mark is None:
            complete = {} if as_of is None else dict.fromkeys(self._kinds, as_of)
            write_to_stores(prepared, self.stores, self._kinds, Position(position.changelogs, complete=complete))
            self.unflushed += len(prepared.changes)
        self.mark, self.ahead = mark, False
        for cache in self.caches.values():
            cache.complete_commit()
        self._ownership.commit_completed(position.changelogs)
        self._committed.update(positions_in(prepared.offsets, prepared.seen))
        self._committed_seen.update(prepared.seen)
        self._fresh, self._unsaid = (keys - prepared.offsets.keys() for keys in (self._fresh, self._unsaid))
        self._prepared, self._wrote = None, False

    def flush(self) -> None:
        """Begin to flush the stores to disk, so that a restart after a crash replays less."""
        for store in self.stores.values():
            store.flush(wait=False)
        self.unflushed = 0

    def discard(self) -> dict[TopicPartition, int]:
        """Discard all uncommitted work; return the offsets at which the inputs must be read again."""
        for cache in self.caches.values():
            cache.discard()
        self._skips.count(self._graph.drops())
        self._earlier_misses, self._earlier_lateness = self.misses(), self.lateness()
        self._graph.close()
        self._graph = self._new_graph()
        self.time = TaskTime(self.subtopology, self.id.partition, self.inputs, self._committed_seen)
        self.time.resume(self._graph)
        self._buffer = self.time.buffer(self.subtopology)
        self._next.clear()
        self._newest = self._readers.restore_newest(self.inputs, self._committed_seen)
        self._prepared, self._wrote = None, False
        return self.committed()

    def release_stores(self) -> Mapping[str, Store]:
        """Return the stores, which are no longer closed with the task; only `close` may follow."""
        given, self.stores = self.stores, dict[str, Store]()
        return given

    def close(self) -> None:
        """Close the stores without uncommitted work, and cancel pending calls."""
        self._graph.close()
        for store in self.stores.values():
            store.close()

    def trim(self, cache_bytes: int) -> None:
        """Shrink each cache's clean entries to its share of `cache_bytes`."""
        for cache in self.caches.values():
            cache.trim(cache_bytes // len(self.caches))

    @property
    def dirty_bytes(self) -> int:
        """Estimated bytes of changes that wait for a commit."""
        return sum(cache.dirty_bytes for cache in self.caches.values())

    @property
    def dirty(self) -> bool:
        """True if a commit would have something to do."""
        advanced = not_beyond(self._next, self._graph.unwritten).items()
        begun = bool(self._fresh) or self._wrote or any(self._committed[key] != at for key, at in advanced)
        return begun or any(cache.dirty for cache in self.caches.values())

    def waiting(self) -> tuple[TopicPartition, ...]:
        """Return the inputs that block the others."""
        return self._buffer.waiting()

    def next_time(self) -> int | None:
        """Return the event time of the oldest queued record, None if there is none."""
        return self._buffer.next_time()

    def may_receive(self) -> bool:
        """Return whether an input is empty and not known to be caught up."""
        return self._buffer.may_receive()

    def buffered(self) -> dict[TopicPartition, int]:
        """Return the bytes of queued records, by input."""
        return self._buffer.sizes()

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to process of each input that has one."""
        return self._rows.offsets(self._positions())

    def _positions(self) -> dict[TopicPartition, int]:
        """Return them with the rows of histories."""
        return {**self._committed, **self._next}

    def committed(self) -> dict[TopicPartition, int]:
        """Return the committed next offset of each input."""
        return self._rows.offsets(self._committed)

    def misses(self) -> dict[str, int]:
        """Return the number of lookups that found no row, by step."""
        return summed(self._earlier_misses, self._graph.misses())

    def drops(self) -> dict[tuple[str, str], int]:
        """Return the records dropped since the task began, by step and reason."""
        return summed(self._skips.counts, self._graph.drops()) | self._readers.drops()

    def lateness(self) -> dict[str, int]:
        """Return how far behind its step's time the latest dropped record was, in ms, by step."""
        return largest(self._earlier_lateness, self._graph.lateness())

    def doubts(self) -> dict[str, str]:
        """Return the warnings about timestamps that seem to be in another unit, by step."""
        return self._readers.doubts() | self._graph.doubts()

    def skips(self) -> list[RecordError]:
        """Return the first few records of each step that a policy has dropped since the last call."""
        return self._skips.take()
