"""In-memory processes that share the tasks of a program, in any interleaving.

Checks that the results of a backlog do not depend on which process reads it. The tasks are the real ones of the engine.
Simulated are the logs, which show only what is committed, one clock, and the processes, which fetch, process, commit
all their tasks together, and die. A seed selects each next step.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import tidemill as tm
from tidemill.engine.calls.async_calls import AsyncCallExecutor
from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.murmur2 import murmur2_partition
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.runtime.scheduler import Scheduler
from tidemill.engine.tasks.task import Task
from tidemill.engine.watermarks.records import is_mark
from tidemill.engine.watermarks.watermarks import InputProgress, seen_in
from tidemill.operators.record import Batch, Outgoing, Record, Row
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position
from tidemill.state.topic_partition import TopicPartition

__all__ = ["Crew"]

IDLE = 10_000


class Process:
    """A process: tasks that commit together."""

    def __init__(self, crew: Crew, tasks: Iterable[TaskId]) -> None:
        self.crew = crew
        self.tasks = {task: crew.opened(task) for task in tasks}
        self.pace = Scheduler(crew.clock, IDLE)
        self.written: list[Outgoing] = []

    def fetch(self, most: int) -> None:
        """Read a few records of one partition, and report its end when there are no more."""
        keys = [key for task in self.tasks.values() for key in task.inputs]
        key = self.crew.random.choice(keys)
        task = next(task for task in self.tasks.values() if key in task.inputs)
        begin = task._buffer.end(key)
        begin = task.positions()[key] if begin is None else begin
        log = self.crew.logs[key]
        if begin < len(log):
            if task.buffered()[key] > 200_000:
                return
            task.offer(batch(key, log[begin : begin + most], begin), self.crew.clock.now())
        if begin + most >= len(log):
            task.caught_up(key, True, len(log))

    def work(self, limit: int) -> bool:
        """Run each task that is not waiting for input."""
        moved = False
        for task, until in self.pace.runnable(self.tasks.values()):
            outgoing = task.advance(self.crew.clock.now(), limit, self.pace.waits_for_input(task), until)
            if outgoing is not None:
                moved = True
                self.written += outgoing
        return moved

    def tick(self) -> None:
        for task in self.tasks.values():
            self.written += task.tick(self.crew.clock.now())

    def commit(self) -> None:
        for task in self.tasks.values():
            self.written += task.before_commit(self.crew.clock.now())
            sealed = task.prepare_commit()
            for key, offset in sealed.offsets.items():
                self.crew.offsets[key] = offset, sealed.metadata(key)
            task.complete_commit(Position())
        for out in self.written:
            self.crew.write(out)
        self.written = []


class Crew:
    """The processes of a group, and the logs that they read and write."""

    def __init__(self, app: Any, partitions: int | Mapping[str, int], processes: int, seed: int) -> None:
        topology = app.topology()
        names = [topic for source in topology.sources for topic in source.topics]
        counts = dict.fromkeys(names, partitions) if isinstance(partitions, int) else dict(partitions)
        self.plan: Plan = plan(partition(topology), app.app_id, counts)
        self.nodes = {topic: node for subtopology in self.plan.subtopologies for topic, node in subtopology.inputs}
        self.counts = {
            topic: n for subtopology in self.plan.subtopologies for topic, n in subtopology.topic_partitions.items()
        }
        self.logs: dict[TopicPartition, list[Row]] = {
            (t, n): [] for t, count in self.counts.items() for n in range(count)
        }
        self.outputs: dict[str, list[Row]] = {}
        self.offsets: dict[TopicPartition, tuple[int, str]] = {}
        self.stores: dict[TaskId, dict[str, MemoryStore]] = {}
        self.random = random.Random(seed)
        self.clock = ManualClock(1_000_000)
        self.calls = AsyncCallExecutor()
        self.dropped: dict[tuple[str, str], int] = {}
        tasks = list(self.plan.tasks())
        self.random.shuffle(tasks)
        self.processes = [Process(self, tasks[number::processes]) for number in range(processes)]

    def opened(self, task: TaskId) -> Task:
        """Open a task from its committed state."""
        subtopology = self.plan.subtopology(task)
        stores = self.stores.setdefault(task, {kind: MemoryStore() for kind in ("rocksdb", "memory")})
        keys = subtopology.task_inputs(task.partition)
        committed = {key: self.offsets.get(key, (0, "")) for key in keys}
        seen: dict[TopicPartition, InputProgress] = {key: seen_in(metadata) for key, (_, metadata) in committed.items()}
        times = [int(text[2:].partition(";")[0]) for _, text in committed.values() if text.startswith("t=")]
        offsets = {key: offset for key, (offset, _) in committed.items()}
        return Task(task, subtopology, stores, offsets, stream_time=max(times, default=-1), calls=self.calls, seen=seen)

    def send(self, topic: str, records: Iterable[Record[Any, Any]], number: int | None = None) -> None:
        """Append records to an input topic of the program."""
        node = self.nodes[topic]
        for record in records:
            key, value = node.key.encode(record.key), node.value.encode(record.value)  # type: ignore[union-attr]
            self.append(topic, (key, value, record.timestamp, None, -1 if number is None else number))

    def append(self, topic: str, row: Row) -> None:
        key, at, count = row[0], row[4], self.counts[topic]
        if isinstance(at, bytes) or at < 0:
            at = 0 if key is None else murmur2_partition(key if isinstance(at, int) else at, count)
        self.logs[topic, at].append(row)

    def write(self, out: Outgoing) -> None:
        for row in out.rows:
            if out.topic in self.counts:
                self.append(out.topic, row)
            elif not is_mark(row[0], row[1], row[3]):
                self.outputs.setdefault(out.topic, []).append(row)

    def step(self, kills: float) -> None:
        """Run one random step of one random process."""
        draw = self.random
        process = draw.choice(self.processes)
        for _ in range(draw.randrange(1, 12)):
            process.fetch(draw.choice((1, 7, 50)))
        for _ in range(draw.randrange(1, 30)):
            if not process.work(draw.choice((1, 20, 1_000))):
                break
        self.clock.advance(draw.choice((0, 1, 30, 100)))
        if draw.random() < 0.5:
            process.tick()
        if draw.random() < 0.3:
            process.commit()
        if draw.random() < kills:
            self.kill(process)

    def kill(self, process: Process) -> None:
        """Kill a process: uncommitted work is lost, and other processes or a new one take over the tasks."""
        tasks = list(process.tasks)
        self.close(process)
        self.processes.remove(process)
        if self.processes and self.random.random() < 0.5:
            for task in tasks:
                self.random.choice(self.processes).tasks[task] = self.opened(task)
        else:
            self.processes.append(Process(self, tasks))

    def drained(self) -> bool:
        """Return whether all input is read and committed."""
        return all(self.offsets.get(key, (0, ""))[0] == len(log) for key, log in self.logs.items())

    def settle(self, steps: int = 20_000) -> None:
        """Run until all input is read."""
        for _ in range(steps):
            if self.drained():
                return
            self.step(0)
        raise AssertionError({key: (self.offsets.get(key), len(log)) for key, log in self.logs.items()})

    def wait(self, ms: int, at_a_time: int) -> None:
        """Advance the clock without new input."""
        for _ in range(0, ms, at_a_time):
            self.clock.advance(at_a_time)
            for process in self.processes:
                for key in [key for task in process.tasks.values() for key in task.inputs]:
                    for task in process.tasks.values():
                        if key in task.inputs:
                            task.caught_up(key, True) if task._buffer.end(key) in (None, len(self.logs[key])) else None
                process.tick()
                process.commit()
            self.settle()

    def close(self, process: Process) -> None:
        for task in process.tasks.values():
            for place, count in task.drops().items():
                self.dropped[place] = self.dropped.get(place, 0) + count
            task.release_stores()
            task.close()

    def finish(self) -> None:
        for process in self.processes:
            self.close(process)
        self.calls.close()

    def read(self, topic: str, key: tm.Serde[Any], value: tm.Serde[Any]) -> list[tuple[Any, Any, int]]:
        return [
            (key.decode(row[0] or b""), None if row[1] is None else value.decode(row[1]), row[2])
            for row in self.outputs.get(topic, [])
        ]


def batch(key: TopicPartition, rows: list[Row], begin: int) -> Batch:
    headers = [tuple(row[3]) if row[3] else () for row in rows] if any(row[3] for row in rows) else None
    return Batch(
        *key,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        list(range(begin, begin + len(rows))),
        headers,
        sum(len(row[0] or b"") + len(row[1] or b"") for row in rows),
    )
