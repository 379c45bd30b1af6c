"""Runs a program on the engine's own tasks: topics are lists, changelogs too, and what happens to it is called from
outside. All tasks are of one process, whose commits are of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

import tidemill as tm
from tests.random_programs.answers import Answers
from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.kafka.murmur2 import murmur2_partition
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.restore.global_rows import GlobalRows
from tidemill.engine.restore.opening import Opening
from tidemill.engine.restore.replay import Replay
from tidemill.engine.tasks.prepared_commit import PreparedCommit
from tidemill.engine.tasks.task import Task
from tidemill.engine.watermarks.records import is_mark
from tidemill.engine.watermarks.watermarks import seen_in
from tidemill.operators.policy import skip
from tidemill.operators.record import Batch, Outgoing, Row
from tidemill.state.changelog import encode
from tidemill.state.memory import MemoryStore
from tidemill.state.store import TOMBSTONES_KEPT_MS, Position, frame, unframe
from tidemill.state.topic_partition import TopicPartition
from tidemill.testing import StoreReader

__all__ = ["Changelogs", "World"]

Rows = list[tuple[int, bytes, "bytes | None", Any]]


class Changelogs:
    """The changelog topics, and a reader of them."""

    def __init__(self) -> None:
        self.rows: dict[TopicPartition, Rows] = {}
        self._assigned: dict[TopicPartition, int] = {}

    def write(self, sealed: PreparedCommit, topics: Mapping[str, str], *, with_inputs: bool) -> Position:
        """Write a commit of this work, and return the ends of the changelogs."""
        ends: dict[str, int] = {}
        for store in dict.fromkeys(change.store for change in sealed.changes):
            if store in topics:
                key = (topics[store], sealed.task.partition)
                changes = [change for change in sealed.changes if change.store == store]
                writer = sealed.changelog_ownership.writers.get(store)
                for row in encode(changes, sealed.inputs() if with_inputs else None, writer):
                    self.rows.setdefault(key, []).append((self._end(key), *row))
                ends[store] = self._end(key)
        return Position(ends)

    def compact(self) -> None:
        """Leaves the last record of each key, and of the last segment all."""
        for key, rows in self.rows.items():
            last = {row[1]: row[0] for row in rows}
            self.rows[key] = [row for row in rows if last[row[1]] == row[0]]

    def _end(self, key: TopicPartition) -> int:
        rows = self.rows.get(key)
        return rows[-1][0] + 1 if rows else 0

    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(keys, 0)

    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]:
        return {key: self._end(key) for key in keys}

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, TOMBSTONES_KEPT_MS)

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._assigned.update(offsets)

    def unassign(self, keys: Iterable[TopicPartition]) -> None:
        for key in keys:
            self._assigned.pop(key, None)

    def poll(self, limit: int, timeout: float) -> Polled:
        batches: list[Batch] = []
        for key, at in list(self._assigned.items()):
            rows = [row for row in self.rows.get(key, []) if row[0] >= at]
            self._assigned[key] = self._end(key)
            if rows:
                offsets, keys, values, headers = (list(column) for column in zip(*rows, strict=True))
                heads = [tuple(one) if one else () for one in headers]
                batches.append(Batch(*key, keys, values, [0] * len(rows), offsets, heads, 0))
        return Polled(batches, {key: self._end(key) for key in self._assigned})


class World:
    """A running program."""

    def __init__(self, app: tm.App, partitions: int = 1, random: Random | None = None, at_least_once: bool = False):
        topology = app.topology()
        names = [topic for source in topology.sources for topic in source.topics]
        self.plan = plan(partition(topology), "p", dict.fromkeys(names, partitions), {})
        self.clock = ManualClock(1_000)
        self.changelogs = Changelogs()
        self.outputs: dict[tuple[str, TaskId], list[Row]] = {}
        self._random = random
        """Chooses the next task; without it tasks run in turn."""
        self._partitions = partitions
        self._at_least_once = at_least_once
        self._generation = 0
        self._logs: dict[TopicPartition, list[Row]] = {}
        self._counts = {
            topic: n for subtopology in self.plan.subtopologies for topic, n in subtopology.topic_partitions.items()
        }
        self._global = {
            node.topics[0]: GlobalRows(node, MemoryStore(), skip, 1 << 20) for node in topology.global_tables
        }
        self._committed: dict[TopicPartition, tuple[int, str]] = {}
        self._marks: dict[Any, int] = {}
        """How long logs and outputs were at the last commit."""
        self.tasks: dict[TaskId, Task] = {}
        self.restore()
        self.commit()

    # What happens

    def send(self, topic: str, rows: list[Row]) -> None:
        """Deliver records, as one batch per partition, and process everything that follows."""
        self._deliver(topic, rows)
        self._pump()

    def advance(self, ms: int) -> None:
        """Advance the wall clock."""
        self.clock.advance(ms)
        self._tick()

    def commit(self) -> None:
        """Commit all work."""
        self._send_waiting()
        for task in self.tasks.values():
            sealed = task.prepare_commit()
            position = self._write(task, sealed)
            self._committed.update({key: (at, sealed.metadata(key)) for key, at in sealed.offsets.items()})
            task.complete_commit(position)
        self._marks = {id(rows): len(rows) for rows in self._all_rows()}

    def trim(self) -> None:
        """Evict all clean entries from memory."""
        for task in self.tasks.values():
            task.trim(0)

    def roll_back(self, *, sealed: bool) -> None:
        """The work since the last commit is undone, and may have been sealed already. The records since then are to be
        sent again."""
        if sealed:
            self._send_waiting()
        for task in self.tasks.values():
            if sealed:
                task.prepare_commit()
        self._undo()
        for task in self.tasks.values():
            for key in task.discard():
                self._start_replay(key, task, task.committed()[key])
        self._tick()

    def lose_a_commit(self) -> None:
        """Write the changelogs, and kill the process before its offsets are committed."""
        self._send_waiting()
        for task in self.tasks.values():
            self._write(task, task.prepare_commit())
        self._undo()
        self.restore()

    def restore(self) -> None:
        """Replace the process and its disk by a new one, which restores from Kafka."""
        self._generation += 1
        calls = Answers()
        tables: Any = {rows.name: rows for rows in self._global.values()}
        for name in self.plan.tasks():
            if name in self.tasks:
                self.tasks[name].close()
            subtopology = self.plan.subtopology(name)
            inputs = subtopology.task_inputs(name.partition)
            found = {key: self._committed[key] for key in inputs if key in self._committed}
            offsets = {key: found[key][0] if key in found else 0 for key in inputs}
            opening = Opening(
                name, subtopology, stores={"rocksdb": MemoryStore(), "memory": MemoryStore()}, offsets=offsets
            )
            reader: Any = self.changelogs
            replay = Replay(reader, reader, self.clock, self._at_least_once)
            opening.generation = self._generation
            replay.add([opening])
            while not all(cursor.done for cursor in opening.cursors):
                replay.step(0)
            replay.remove(name)
            opening.changelog_ownership.unsure = {
                cursor.store: cursor.unsure for cursor in opening.cursors if cursor.unsure
            }
            self.tasks[name] = Task(
                name,
                subtopology,
                opening.stores,
                offsets,
                skip,
                max([stream_time(text) for _, text in found.values()], default=-1),
                frozenset(key for key in inputs if key not in found),
                calls=calls,
                seen={key: seen_in(text) for key, (_, text) in found.items()},
                global_tables=tables,
                changelog_ownership=opening.changelog_ownership,
            )
        self._owner = {key: task for task in self.tasks.values() for key in task.inputs}
        for key, task in self._owner.items():
            self._start_replay(key, task, task.committed()[key])
        self._tick()

    # What came of it

    def items(self, name: str) -> list[tuple[Any, Any]]:
        """What users see in a store."""
        for subtopology in self.plan.subtopologies:
            for state in subtopology.stores:
                if state.spec.name == name:
                    caches = [self.tasks[task].caches[name] for task in subtopology.tasks()]
                    return list(StoreReader(caches, state.view).items())
        raise KeyError(name)

    def stores(self) -> dict[str, list[str]]:
        """What users see in each store."""
        names = [state.spec.name for subtopology in self.plan.subtopologies for state in subtopology.stores]
        return {name: [repr(pair) for pair in self.items(name)] for name in names}

    def unlike(self) -> list[str]:
        """What is in the stores and would be other bytes if it were read and written again."""
        found: list[str] = []
        for task in self.tasks.values():
            for state in task.subtopology.stores:
                codec, store = state.codec, task.stores[state.spec.kind]
                for raw_key, raw in store.scan(state.spec.name, b"", None):
                    key, value = codec.decode_key(raw_key), codec.decode_value(unframe(raw))
                    if (codec.encode_key(key), frame(codec.encode_value(value))) != (raw_key, raw):
                        found.append(f"store {state.spec.name}: {raw_key!r} {raw!r} is {key!r} {value!r}")
        return found

    def drops(self) -> dict[tuple[str, str], int]:
        """Records that were dropped, by step and reason."""
        total: dict[tuple[str, str], int] = {}
        for subtopology in (*self.tasks.values(), *self._global.values()):
            for place, count in subtopology.drops().items():
                total[place] = total.get(place, 0) + count
        return total

    def close(self) -> None:
        for task in self.tasks.values():
            task.close()

    # How

    def _write(self, task: Task, sealed: PreparedCommit) -> Position:
        return self.changelogs.write(sealed, task.subtopology.changelogs, with_inputs=self._at_least_once)

    def _all_rows(self) -> list[list[Row]]:
        return [*(rows for (topic, _), rows in self._logs.items() if topic not in self._global), *self.outputs.values()]

    def _undo(self) -> None:
        """What was written since the last commit, and what arrived, is gone."""
        for rows in self._all_rows():
            del rows[self._marks.get(id(rows), 0) :]

    def _deliver(self, topic: str, rows: Sequence[Row]) -> None:
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault(self._partition(topic, row), []).append(row)
        for number, group in groups.items():
            log = self._logs.setdefault((topic, number), [])
            begin = len(log)
            log.extend(group)
            self._offer((topic, number), begin, group)

    def _offer(self, key: TopicPartition, begin: int, rows: list[Row]) -> None:
        headers = [tuple(row[3]) if row[3] else () for row in rows] if any(row[3] for row in rows) else None
        keys, values, times = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
        batch = Batch(*key, keys, values, times, list(range(begin, begin + len(rows))), headers, 0)
        if key[0] in self._global:
            self._global[key[0]].apply(batch)
            return
        self._owner[key].offer(batch, self.clock.now())
        self._owner[key].caught_up(key, True)

    def _start_replay(self, key: TopicPartition, task: Task, offset: int) -> None:
        """Gives a task again what it has not committed."""
        rows = self._logs.get(key, [])[offset:]
        if rows:
            self._offer(key, offset, rows)
        task.caught_up(key, True)

    def _partition(self, topic: str, row: Row) -> int:
        key, at = row[0], row[4]
        count = self._counts.get(topic, self._partitions)
        if isinstance(at, bytes):
            return murmur2_partition(at, count)
        return at if at >= 0 else 0 if key is None else murmur2_partition(key, count)

    def _route(self, task: Task, outgoing: list[Outgoing]) -> None:
        for out in outgoing:
            if out.topic in self._counts:
                self._deliver(out.topic, out.rows)
            else:
                self.outputs.setdefault((out.topic, task.id), []).extend(out.rows)

    def _send_waiting(self) -> None:
        """Results that wait for the commit are sent, and all that follows is done, task by task."""
        sent = True
        while sent:
            sent = False
            for task in self._turns():
                if outgoing := task.before_commit(self.clock.now()):
                    sent = True
                    self._route(task, outgoing)
                    self._pump()

    def _tick(self) -> None:
        for task in self._turns():
            self._route(task, task.tick(self.clock.now()))
        self._pump()

    def _turns(self) -> list[Task]:
        tasks = list(self.tasks.values())
        if self._random is not None:
            self._random.shuffle(tasks)
        return tasks

    def _pump(self) -> None:
        """Run until nothing is left to do."""
        moving = True
        while moving:
            moving = False
            for task in self._turns():
                limit = None if self._random is None else self._random.choice([None, 1, 2])
                outgoing = task.advance(self.clock.now(), limit)
                if outgoing is not None:
                    moving = True
                    self._route(task, outgoing)
                    if self._random is not None:
                        break
            if not moving:
                for task in self._turns():
                    marks = task.emit_marks(self.clock.now(), at_once=True)
                    moving |= bool(marks)
                    self._route(task, marks)
            for task in self._turns():
                if task.calling:
                    moving = True
                    self._route(task, task.collect(self.clock.now()))


def stream_time(metadata: str) -> int:
    return int(metadata.partition(";")[0].partition("=")[2])


def visible(rows: list[Row]) -> list[Row]:
    """Without marks."""
    return [row for row in rows if not is_mark(row[0], row[1], row[3])]
