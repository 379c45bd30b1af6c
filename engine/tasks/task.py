"""One sub-topology on one partition number, executing.

A task owns its stores, its input buffer and its operators, and touches no Kafka object: batches come in by `offer`,
records to write go out of `advance`, and what is to be made durable is a value, `Sealed`.

    RUNNING --seal()--> RUNNING --settle()--> RUNNING          a commit that succeeded
       |                    '------discard()--> RUNNING        one that did not: back to what the stores hold
       '---close()--> CLOSED
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

from ...operators.errors import RecordError
from ...operators.graph.calls import Calls
from ...operators.graph.codecs import Decoder, decoder
from ...operators.graph.topology import Repartition, Rows, Source
from ...operators.policy import ErrorPolicy
from ...operators.record import Batch, Outgoing, Record
from ...state.cache import StateCache
from ...state.store import Position, Store
from ..counters import largest, summed
from ..dropped_records import Skips
from ..ids import TaskId
from ..plan.plan import SubTopology
from ..watermarks.watermarks import NOTHING, Seen
from .buffer import Run
from .changelog_ownership import Authorship
from .decoding import decoded
from .operator_graph import Graph, Origin
from .prepared_commit import Sealed
from .store_schemas import shapes_metadata
from .task_time import TaskTime
from .topic_ids import TopicIds

__all__ = ["Sealed", "Task"]

Key = tuple[str, int]
NONE: Mapping[str, Any] = {}


class Task:
    """A sub-topology at work on one partition number."""

    def __init__(
        self,
        task: TaskId,
        part: SubTopology,
        stores: Mapping[str, Store],
        offsets: Mapping[Key, int],
        policy: ErrorPolicy = ErrorPolicy.FAIL,
        stream_time: int = -1,
        fresh: frozenset[Key] = frozenset(),
        *,
        calls: Calls,
        seen: Mapping[Key, Seen] | None = None,
        global_tables: Mapping[str, Rows] = NONE,
        topic_ids: Mapping[str, str] = NONE,
        authorship: Authorship | None = None,
    ) -> None:
        """`stores` by kind; `offsets` are the next offsets of the inputs.

        They are what the group has committed, except for inputs that are `fresh`: those were never committed, and are
        by the next seal. `calls` runs the coroutine functions of steps. `seen` is what was seen of the inputs up to
        those offsets. `global_tables` are by the names of their stores. An input without an offset is of a topic that
        does not exist at the moment, and not read. `authorship` is who the task is in changelogs written at least once.
        """
        self.id = task
        self.part = part
        self.stores: Mapping[str, Store] = stores
        self.stream_time = stream_time
        self.records_in = 0
        self.unflushed = 0
        """Changes settled since the last flush."""
        self._name = str(task)
        self._specs = {state.spec.name: state for state in part.stores}
        self.caches: dict[str, StateCache[Any, Any]] = {
            state.spec.name: StateCache(stores[state.spec.kind], state.spec.name, state.codec) for state in part.stores
        }
        kin = tuple(self.caches[state.spec.name] for state in part.stores if not state.codec.exact)
        for cache in self.caches.values():
            cache.kin = kin
        self.inputs: tuple[Key, ...] = tuple(key for key in part.task_inputs(task.partition) if key in offsets)
        self.topics = TopicIds(topic_ids, part.changelogs)
        self._authorship = authorship or Authorship()
        self._shapes = shapes_metadata(part.program_stores)
        self._nodes = {node.id: node for _, node in part.inputs}
        self._skips = Skips()
        self._new_graph = partial(Graph, part, self.caches, policy, calls, global_tables, task.partition, self._skips)
        self._graph = self._new_graph()
        self._readers = {topic: (node.id, decoder(node)) for topic, node in part.inputs}
        self._policies = {node.id: node.policy or policy for _, node in part.inputs}
        self._committed: dict[Key, int] = dict(offsets)
        self._committed_seen: dict[Key, Seen] = dict(seen or {})
        self.time = TaskTime(part, task.partition, self.inputs, self._committed_seen)
        self.time.resume(self._graph)
        self._buffer = self.time.buffer(part)
        self._newest = self._newest_of(self._committed_seen)
        self._next: dict[Key, int] = {}
        self._fresh = set(fresh)
        self._sealed: Sealed | None = None
        self._wrote = False
        """Whether there are outputs since the last commit."""
        self.origin = Origin(self._name, "", task.partition)
        """Where the records of the last walk came from."""
        self.taken: Sequence[Record[Any, Any]] = ()
        """The records of the last run."""
        self._earlier_misses: dict[str, int] = {}
        self._earlier_lateness: dict[str, int] = {}

    def offer(self, batch: Batch, now: int) -> None:
        """Takes what a partition delivered; what the task had before is left out.

        Raises RecordError for a record that cannot be taken, by the policy.
        """
        node, reader = self._readers[batch.topic]
        key = (batch.topic, batch.partition)
        expected = self._buffer.end(key)
        if expected is None:
            expected = self.positions()[key]
        if batch.offsets[0] < expected:
            newer = batch.after(bisect_left(batch.offsets, expected) - 1)
            if newer is None:
                return
            batch = newer
        left, extra = self.time.take(key, batch) if isinstance(self._nodes[node], Repartition) else (batch, 0)
        records = [] if left is None else self._decoded(node, reader, left, now)
        for cache in self.caches.values() if reader.odd_keys else ():
            cache.by_bytes()
        self._buffer.offer(key, records, batch.offsets[-1] + 1, batch.size + extra)

    def _decoded(self, node: int, reader: Decoder, batch: Batch, now: int) -> list[Any]:
        return decoded(reader, batch, now, self._policies[node], self._skips, self._name)

    def caught_up(self, key: Key, yes: bool, end: int = 0) -> None:
        """Says whether a partition has nothing more at the moment, so that it need not be waited for.

        `end` is the offset up to which it was read: markers of transactions and aborted records that lie before it
        count as processed with the records before them.
        """
        self._buffer.caught_up(key, yes)
        if self._buffer.reached(key, end) and end > self._next.get(key, self._committed.get(key, end)):
            self._next[key] = end

    def advance(
        self,
        now: int,
        limit: int | None = None,
        wait: bool = True,
        until: int | None = None,
        left_out: Set[tuple[str, int, int]] = frozenset(),
    ) -> list[Outgoing] | None:
        """Processes the next run, of at most `limit` records and none after the time `until`; None when there is none.

        With `wait` false, empty inputs are not waited for. A task whose calls are as many as they may be takes nothing.
        Records that are `left_out`, by topic, partition and offset, are passed over.
        """
        room = self._graph.room
        if room is not None:
            if room <= 0:
                return None
            limit = room if limit is None else min(limit, room)
        if (run := self._buffer.next_run(limit, wait, until)) is None:
            return None
        records = self.taken = run.records
        if left_out:
            records = [one for one in records if (run.topic, run.partition, one.offset) not in left_out]
        outgoing: list[Outgoing] = [] if self.time.begun else self.tell(now)
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
        """Walks records through the steps, and tells them the time where it goes on."""
        source = self._readers[run.topic][0]
        origin = self.origin = Origin(self._name, run.topic, run.partition)
        outgoing: list[Outgoing] = []
        for records, time, offset in self.time.stretches((run.topic, run.partition), run.records, run.next_offset, now):
            if records:
                outgoing += self._graph.run(source, records, now, origin)
            if time is not None:
                outgoing += self._graph.advance(time, offset, now, origin)
        return outgoing + self._told_at_last(now, origin)

    def _told_at_last(self, now: int, origin: Origin) -> list[Outgoing]:
        """Tells steps the time that had to wait for records before them, as far as those have been sent on."""
        time = self.time.now
        return [] if time is None or not self._graph.held else self._graph.advance(time, -1, now, origin)

    def tick(self, now: int) -> list[Outgoing]:
        """Lets steps act on wall-clock time."""
        origin = self.origin = Origin(self._name, "(wall clock)", self.id.partition, asked=True)
        outgoing = self._graph.tick(now, origin)
        time = self.time.quiet(now, self._buffer.at_end)
        if time is not None:
            outgoing += self._graph.advance(time, -1, now, origin)
        outgoing += self._told_at_last(now, origin) + self.tell(now)
        self._wrote |= bool(outgoing)
        return outgoing

    def tell(self, now: int, *, at_once: bool = False) -> list[Outgoing]:
        """What those that read the task's repartition topics are to know of its time now."""
        return self.time.tell(self._graph, self.stream_time, now, self._buffer.at_end, at_once=at_once)

    def told_time(self) -> int:
        """The least that it tells of its time; -1 when that is not known."""
        return self.time.own(self._graph, self.stream_time)

    @property
    def calling(self) -> int:
        """How many records wait for the answers to calls."""
        return self._graph.waiting

    def collect(self, now: int, limit: int | None = None) -> list[Outgoing]:
        """Processes what has come of the calls that steps have made, at most `limit` answers of a step."""
        origin = self.origin = Origin(self._name, "(answers to calls)", self.id.partition, asked=True)
        outgoing = self._graph.collect(now, limit, origin) + self._told_at_last(now, origin)
        self._wrote |= bool(outgoing)
        return outgoing

    def refuse(self, error: RecordError) -> None:
        """What the last walk made of a record is not taken by Kafka: counts it as skipped, or raises the error, by the
        policy of the step."""
        self._graph.refuse(error, self.origin)

    def seal(self) -> Sealed:
        """Drains the caches and says what must become durable. Runs no operator.

        What came of no input, such as the work of a timer, goes with the committed offset of an input: the offsets are
        what Kafka refuses to a process that has lost its tasks.
        """
        changes = [change for cache in self.caches.values() for change in cache.drain()]
        kinds, stores = self._specs, self.stores
        changes += self._authorship.repairs(changes, lambda store, key: stores[kinds[store].spec.kind].get(store, key))
        offsets = {
            key: offset
            for key, offset in self.positions().items()
            if key in self._fresh or offset != self._committed[key]
        }
        if not offsets and self.inputs and (changes or self._wrote):
            offsets = {self.inputs[0]: self._committed[self.inputs[0]]}
        seen = {key: Seen(newest, -1) for key, newest in self._newest.items()}
        seen.update(self.time.seen())
        of = self.topics, self._authorship, self._shapes
        self._sealed = Sealed(self.id, offsets, tuple(changes), self.stream_time, seen, *of)
        return self._sealed

    def settle(self, position: Position, as_of: int | None = None) -> None:
        """The commit of what was sealed, at `as_of` by the wall clock, has succeeded: writes it to the stores."""
        sealed = self._sealed
        assert sealed is not None
        inputs = sealed.inputs()
        for kind, store in self.stores.items():
            mine = {name for name, state in self._specs.items() if state.spec.kind == kind}
            store.apply(
                [change for change in sealed.changes if change.store in mine],
                Position(
                    {name: at for name, at in position.changelogs.items() if name in mine},
                    inputs,
                    {} if as_of is None else dict.fromkeys(mine, as_of),
                    writers=self._authorship.wrote(mine & position.changelogs.keys()),
                ),
            )
        self.unflushed += len(sealed.changes)
        for cache in self.caches.values():
            cache.settle()
        self._authorship.settled(position.changelogs)
        self._committed.update(sealed.offsets)
        self._committed_seen.update(sealed.seen)
        self._fresh.difference_update(sealed.offsets)
        self._sealed = None
        self._wrote = False

    def flush(self) -> None:
        """Begins to write to disk what the stores hold in memory, so that a restart after a crash replays less."""
        for store in self.stores.values():
            store.flush(wait=False)
        self.unflushed = 0

    def discard(self) -> dict[Key, int]:
        """Forgets all that is not committed; gives the offsets at which the inputs must be read again."""
        for cache in self.caches.values():
            cache.discard()
        self._skips.count(self._graph.drops())
        self._earlier_misses, self._earlier_lateness = self.misses(), self.lateness()
        self._graph.close()
        self._graph = self._new_graph()
        self.time = TaskTime(self.part, self.id.partition, self.inputs, self._committed_seen)
        self.time.resume(self._graph)
        self._buffer = self.time.buffer(self.part)
        self._next.clear()
        self._newest = self._newest_of(self._committed_seen)
        self._sealed = None
        self._wrote = False
        return dict(self._committed)

    def _newest_of(self, seen: Mapping[Key, Seen]) -> dict[Key, int]:
        """The newest time of each input that gives it to records without one; their decoders go on from it."""
        found: dict[Key, int] = {}
        for key in self.inputs:
            _, reader = self._readers[key[0]]
            if reader.newest is not None:
                found[key] = reader.newest = seen.get(key, NOTHING).newest
        return found

    def give_stores(self) -> Mapping[str, Store]:
        """The stores, which are not closed with the task any more; only closing it may follow."""
        given, self.stores = self.stores, dict[str, Store]()
        return given

    def close(self) -> None:
        """Closes the stores; what is not settled is lost to them. Calls under way are cancelled."""
        self._graph.close()
        for store in self.stores.values():
            store.close()

    def trim(self, cache_bytes: int) -> None:
        """Shrinks each cache's clean entries to its share of `cache_bytes`."""
        for cache in self.caches.values():
            cache.trim(cache_bytes // len(self.caches))

    @property
    def dirty_bytes(self) -> int:
        """Estimated bytes of changes that wait for a commit."""
        return sum(cache.dirty_bytes for cache in self.caches.values())

    @property
    def dirty(self) -> bool:
        """True when a commit would have something to do."""
        if self._fresh or self._wrote or any(self._committed[key] != at for key, at in self._next.items()):
            return True
        return any(cache.dirty for cache in self.caches.values())

    def waiting(self) -> tuple[Key, ...]:
        """Inputs that hold the others up."""
        return self._buffer.waiting()

    def next_time(self) -> int | None:
        """The event time of the oldest record that waits, None when none does."""
        return self._buffer.next_time()

    def may_receive(self) -> bool:
        """True when an input is empty and not known to be caught up."""
        return self._buffer.may_receive()

    def buffered(self) -> dict[Key, int]:
        """Bytes waiting, by input."""
        return self._buffer.sizes()

    def positions(self) -> dict[Key, int]:
        """Next offset to process of each input that has one."""
        return {**self._committed, **self._next}

    def committed(self) -> dict[Key, int]:
        """Committed next offset of each input."""
        return dict(self._committed)

    def misses(self) -> dict[str, int]:
        """Records that looked for a row and found none, by step."""
        return summed(self._earlier_misses, self._graph.misses())

    def drops(self) -> dict[tuple[str, str], int]:
        """Records dropped since the task began, by step and reason."""
        total = summed(self._skips.counts, self._graph.drops())
        names = {node.id: node.name for _, node in self.part.inputs}
        for node, reader in self._readers.values():
            total |= {(names[node], reason): count for reason, count in reader.drops.items() if count}
        return total

    def lateness(self) -> dict[str, int]:
        """How late, in ms, records were that were dropped for it, the latest of each step."""
        return largest(self._earlier_lateness, self._graph.lateness())

    def doubts(self) -> dict[str, str]:
        """What is to be said of times that seem to be in another unit, by step."""
        sources = {node.id: node.name for _, node in self.part.inputs if isinstance(node, Source)}
        read = ((sources[node], reader.doubt) for node, reader in self._readers.values() if node in sources)
        return {name: doubt for name, doubt in read if doubt is not None} | self._graph.doubts()

    def skips(self) -> list[RecordError]:
        """The records that a policy has dropped since the last call, the first few of each step."""
        return self._skips.take()
