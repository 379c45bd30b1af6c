"""Helper that takes a savepoint of a program in the test driver."""

from __future__ import annotations

from pathlib import Path

import tidemill as tm
from tests.support.state_dirs import take_snapshots, write_state
from tidemill.engine.savepoints.description import described
from tidemill.engine.savepoints.record_files import MemoryEntry, RecordFiles
from tidemill.engine.snapshots.manifest import number_of
from tidemill.engine.snapshots.savepoint import Savepoint, SavepointInput, SavepointTask, encode, file_path, path_of
from tidemill.engine.snapshots.storage import Storage
from tidemill.state.store import Position

__all__ = ["saved"]

ATTEMPT = "1700000000000-0123456789ab"


def saved(driver: tm.testing.TopologyDriver, folder: Path, storage: Storage, name: str = "kept") -> Savepoint:
    """Take a savepoint of all tasks of a driver that has processed all its input."""
    plan = driver.plan
    write_state(driver, folder)
    take_snapshots(driver, folder, storage)
    tasks: list[SavepointTask] = []
    for task_id in plan.tasks():
        task = driver._tasks[task_id]
        manifests = storage.list(f"{plan.app_id}/tasks/{task_id}/manifests")
        number = max((number_of(path) or 0 for path in manifests), default=0)
        place = file_path(ATTEMPT, f"memory-{task_id}")
        files = RecordFiles(storage, plan.app_id, place, folder / "memory", lambda size: None)
        for state in plan.subtopology(task_id).stores:
            if state.spec.kind == "memory":
                for key, value in task.stores["memory"].scan(state.spec.name, b"", None):
                    files.append(MemoryEntry(state.spec.name, key, value))
        tasks.append(SavepointTask(str(task_id), number, files.finish()))
    inputs: list[SavepointInput] = []
    for task_id, task in driver._tasks.items():
        prepared = task.prepare_commit()
        task.complete_commit(Position())
        inputs += [SavepointInput(*key, 100, prepared.metadata(key), f"id-{key[0]}") for key in plan.inputs(task_id)]
    parts = [described(part) for part in plan.subtopologies]
    one = Savepoint(name, plan.app_id, "1", ATTEMPT, 1_700_000_000_000, "exactly_once", parts, tasks, inputs, [])
    assert storage.put_new(path_of(plan.app_id, name), encode(one))
    return one
