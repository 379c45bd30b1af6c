"""The stores of this process's tasks in its state directory.

Holds the lock of the directory and the memory shared by all RocksDB instances, and translates the errors of the state
layer to those of the engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from ...state.directory import StateDirectory
from ...state.memory import MemoryStore
from ...state.rocks import RocksMemory, RocksStore
from ...state.store import CorruptStore, StateError, Store
from ..config.settings import Settings
from ..errors import StateCorrupt, StateUnusable
from ..group.membership import Former
from ..ids import TaskId
from ..plan.plan import SubTopology

__all__ = ["TaskStores"]

LOG = logging.getLogger("tidemill.stores")
T = TypeVar("T")
STALE_MS = 7 * 24 * 60 * 60 * 1000
"""How long state of a task is kept after this process last had the task."""


class TaskStores:
    """Opens and wipes the stores of tasks; a context manager that holds the directory."""

    def __init__(self, settings: Settings) -> None:
        """Open the state directory.

        Raises StateUnusable if it is in use, belongs to another application, has a newer format or is not writable.
        """
        self._app_id = settings.app_id
        self._remembering = Lock()
        self._directory = usable(lambda: StateDirectory(settings.worker_dir, settings.app_id))
        self._memory = RocksMemory(settings.state_memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.close()

    def stopping(self) -> None:
        """Record in the directory that this process was asked to stop."""
        self._directory.stopping()

    def former(self) -> Former | None:
        """Return the identity in the group of the previous process on this directory."""
        found = self._directory.former
        return None if found is None else Former(found.member_id, found.process)

    def remember(self, member_id: str, process: str) -> None:
        """Store this process's identity in the group, for fencing after a restart. Thread-safe."""
        with self._remembering:
            usable(lambda: self._directory.remember(process, member_id))

    def forget_former(self) -> None:
        """Delete the stored identity after this process has left the group: it need not be fenced."""
        usable(self._directory.forget)

    def open(self, task: TaskId, subtopology: SubTopology) -> Mapping[str, Store]:
        """Open the stores of a task, by kind. Raises StateCorrupt or StateUnusable."""
        kinds = {state.spec.kind for state in subtopology.stores}
        stores: dict[str, Store] = {}
        if "memory" in kinds:
            stores["memory"] = MemoryStore()
        if "rocksdb" in kinds:
            path = self._directory.task(str(task))
            try:
                stores["rocksdb"] = rocks = RocksStore(path, self._app_id, str(task), self._memory)
                gone = rocks.keep([state.spec.name for state in subtopology.stores])
            except CorruptStore as failure:
                raise StateCorrupt(str(task), str(failure)) from failure
            except StateError as failure:
                raise StateUnusable(str(failure)) from failure
            if gone:
                LOG.info(
                    "task %s: removed the stores %s, which the program no longer has in this task",
                    task,
                    ", ".join(gone),
                )
        return stores

    def wipe(self, *tasks: TaskId | str) -> None:
        """Remove the state of tasks."""
        for task in tasks:
            usable(partial(self._directory.wipe, self._directory.task(str(task))))

    def install(self, task: TaskId, content: Path) -> None:
        """Replace the state of a task, of which nothing is open, by a downloaded snapshot."""
        usable(partial(self._directory.install, self._directory.task(str(task)), content))

    def files(self, task: TaskId) -> Path:
        """Return the path of a task's state, whether or not it exists."""
        return self._directory.task(str(task))

    def scratch(self, name: str) -> Path:
        """Return the path of a temporary directory, not created yet, deleted with this process."""
        return self._directory.scratch(name)

    def open_table(self, name: str, kind: str) -> Store:
        """Open the store of a global table; a corrupt one is replaced. Raises StateUnusable."""
        if kind == "memory":
            return MemoryStore()
        path = self._directory.table(name)
        try:
            return RocksStore(path, self._app_id, name, self._memory)
        except CorruptStore as failure:
            LOG.warning("%s; removing it and rebuilding the global table from its topic", failure)
            usable(partial(self._directory.wipe, path))
            return usable(lambda: RocksStore(path, self._app_id, name, self._memory))
        except StateError as failure:
            raise StateUnusable(str(failure)) from failure

    def keep_tables(self, names: Collection[str]) -> None:
        """Remove the stores of all global tables except `names`."""
        for name in usable(self._directory.tables):
            if name not in names:
                usable(partial(self._directory.wipe, self._directory.table(name)))

    def remove_stale(self, now: int, keep: frozenset[TaskId]) -> list[str]:
        """Remove the state of tasks that this process has not had for a week; return their names."""
        return usable(lambda: self._directory.remove_stale(now, STALE_MS, {str(task) for task in keep}))


def usable(action: Callable[[], T]) -> T:
    """Return the result of an action; raise errors of the state layer as StateUnusable."""
    try:
        return action()
    except StateError as failure:
        raise StateUnusable(str(failure)) from failure
