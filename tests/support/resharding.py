"""Helpers that give the state of a program in the test driver another number of partitions."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import tidemill as tm
from tests.support.bucket import Bucket
from tidemill.engine.clock import ManualClock
from tidemill.engine.errors import ConfigError
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.resharding.moving import MovedStore, Resharding
from tidemill.engine.resharding.parts import parts_of, refused
from tidemill.engine.resharding.positions import moved_inputs
from tidemill.engine.savepoints.content import SavepointContent
from tidemill.engine.snapshots.savepoint import Savepoint
from tidemill.engine.tasks.task import Task
from tidemill.engine.watermarks.watermarks import seen_in
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Change, Position

__all__ = ["ContinuedDriver", "contents", "plan_of", "resharded"]

NONCES = count(1)


def plan_of(app: tm.App, partitions: int) -> Plan:
    """Return the plan of a program whose topics all have so many partitions."""
    topology = app.topology()
    topics = {topic for source in topology.sources for topic in source.topics}
    return plan(partition(topology), app.app_id, dict.fromkeys(topics, partitions))


def resharded(
    bucket: Bucket, base: Savepoint, made: Plan, folder: Path, name: str
) -> tuple[Savepoint, list[MovedStore]]:
    """Return a savepoint with the tasks of a plan. Raises ConfigError, as the command does."""
    parts = parts_of(base, made)
    moving = Resharding(bucket, base, parts, folder / "moving", ManualClock(1_700_000_000_000), lambda text: None)
    if problems := refused(parts, moving.flights.waiting()):
        raise ConfigError("\n".join(problems))
    return moving.run(name, next(NONCES), moving.survey({}), moved_inputs(base, parts, {}, {}))


def contents(bucket: Bucket, one: Savepoint, folder: Path) -> dict[tuple[str, str], dict[bytes, bytes]]:
    """Return the entries of each task and store."""
    content = SavepointContent(bucket, one, folder / "content")
    manifests = content.manifests()
    found: dict[tuple[str, str], dict[bytes, bytes]] = {}
    for task in one.tasks:
        for store, key, value in content.entries(task, manifests.get(task.task)):
            assert key not in found.setdefault((task.task, store), {})
            found[task.task, store][key] = value
    return found


class ContinuedDriver(tm.testing.TopologyDriver):
    """A driver that begins with the state and the times of a savepoint."""

    def __init__(self, app: tm.App, partitions: int, bucket: Bucket, one: Savepoint, folder: Path) -> None:
        self._content = contents(bucket, one, folder)
        self._positions = {(it.topic, it.partition): it.metadata for it in one.inputs}
        super().__init__(app, partitions=partitions)

    def _task(self, task: TaskId, before: Task | None = None) -> Task:
        part = self.plan.subtopology(task)
        stores = {kind: MemoryStore() for kind in ("rocksdb", "memory")}
        for state in part.stores:
            entries = self._content.get((str(task), state.spec.name), {})
            stores[state.spec.kind].apply(
                [Change(state.spec.name, key, value) for key, value in entries.items()], Position()
            )
        keys = part.task_inputs(task.partition)
        metadata = {key: self._positions.get(key, "") for key in keys}
        times = [int(text.split(";")[0][2:]) for text in metadata.values() if text.startswith("t=")]
        tables = {rows.name: rows for rows in self._global.values()}
        made = Task(
            task,
            part,
            stores,
            dict.fromkeys(keys, 0),
            self._policy,
            max(times, default=-1),
            calls=self._calls,
            targets=self._targets,
            seen={key: seen_in(text) for key, text in metadata.items() if text},
            global_tables=tables,
        )
        for key in made.inputs:
            made.caught_up(key, True)
        return made
