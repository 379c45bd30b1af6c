"""Write state directories and snapshots, as a process would, of programs in the test driver."""

from __future__ import annotations

from pathlib import Path

import tidemill as tm
from tidemill.engine.clock import SYSTEM
from tidemill.engine.snapshots.bandwidth import Bandwidth
from tidemill.engine.snapshots.storage import Storage
from tidemill.engine.snapshots.taking import Subject, TaskSnapshots
from tidemill.state.directory import StateDirectory
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position

__all__ = ["take_snapshots", "write_state"]

MEMORY = 8 << 20


def write_state(driver: tm.testing.TopologyDriver, worker: Path, offset: int = 1) -> None:
    """Write the stores of all tasks and global tables of a driver into the directory of a worker.

    `offset` is the position in each changelog.
    """
    app_id = driver.plan.app_id
    with StateDirectory(worker, app_id) as directory:
        memory = RocksMemory(MEMORY)
        for task in driver._tasks.values():
            stores = driver.plan.subtopology(task.id).stores
            names = [state.spec.name for state in stores if state.spec.kind == "rocksdb"]
            if not names:
                continue
            found = task.stores["rocksdb"]
            store = RocksStore(directory.task(str(task.id)), app_id, str(task.id), memory)
            changes = [Change(name, key, value) for name in names for key, value in found.scan(name, b"", None)]
            ids = dict.fromkeys(names, "topic-id")
            store.apply(changes, Position(dict.fromkeys(names, offset), {}, topic_ids=ids))
            store.close()
        for rows in driver._global.values():
            store = RocksStore(directory.table(rows.name), app_id, rows.name, memory)
            content = rows.store.scan(rows.name, b"", None)
            store.apply([Change(rows.name, key, value) for key, value in content], Position({}, {"t:0": offset}))
            store.close()


def take_snapshots(driver: tm.testing.TopologyDriver, worker: Path, storage: Storage, generation: int = 1) -> None:
    """Take a snapshot of each task in the directory of a worker."""
    app_id = driver.plan.app_id
    with StateDirectory(worker, app_id) as directory:
        memory = RocksMemory(MEMORY)
        for name in directory.tasks():
            store = RocksStore(directory.task(name), app_id, name, memory)
            part = next(part for part in driver.plan.subtopologies if name.startswith(f"{part.id}_"))
            shapes = {state.spec.name: state.shape for state in part.stores if state.spec.kind == "rocksdb"}
            snapshots = TaskSnapshots(
                storage, app_id, name, 2, SYSTEM, Bandwidth(None, lambda: 0.0), directory.scratch(f"snapshot-{name}")
            )
            assert snapshots.take(Subject(name, store, shapes, part.fingerprint, generation, lambda: True)) is not None
            store.close()
