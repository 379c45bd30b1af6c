"""The stores of this process's tasks, opened in its state directory.

Holds the directory's lock and the memory that all RocksDB instances share, and says in the engine's errors what the
state layer says in its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from threading import Lock
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from ...state.directory import StateDirectory
from ...state.memory import MemoryStore
from ...state.rocks import RocksMemory, RocksStore
from ...state.store import Corrupt, StateError, Store
from ..config.settings import Settings
from ..errors import StateCorrupt, StateUnusable
from ..group.membership import Former
from ..ids import TaskId
from ..plan.plan import SubTopology

__all__ = ["TaskStores"]

LOG = logging.getLogger("tidemill.stores")
T = TypeVar("T")
STALE_MS = 7 * 24 * 60 * 60 * 1000
"""After what time the state of a task that this process has not had is removed."""


class TaskStores:
    """Opens and wipes the stores of tasks. Entered, it holds the directory."""

    def __init__(self, settings: Settings) -> None:
        """Raises StateUnusable when the directory is in use, another application's, of a newer format or unwritable."""
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
        """Tells the next process on this directory that this one was asked to stop."""
        self._directory.stopping()

    def former(self) -> Former | None:
        """Who the process that had the directory before was in the group."""
        found = self._directory.former
        return None if found is None else Former(found.member_id, found.process)

    def remember(self, member_id: str, process: str) -> None:
        """Keeps who this process is in the group, so that its restart can end what it left. Called in two threads."""
        with self._remembering:
            usable(lambda: self._directory.remember(process, member_id))

    def forget_former(self) -> None:
        """This process has left the group: nobody needs to end it."""
        usable(self._directory.forget)

    def open(self, task: TaskId, part: SubTopology) -> Mapping[str, Store]:
        """The stores of a task by kind. Raises StateCorrupt, or StateUnusable."""
        kinds = {state.spec.kind for state in part.stores}
        stores: dict[str, Store] = {}
        if "memory" in kinds:
            stores["memory"] = MemoryStore()
        if "rocksdb" in kinds:
            path = self._directory.task(str(task))
            try:
                stores["rocksdb"] = rocks = RocksStore(path, self._app_id, str(task), self._memory)
                gone = rocks.keep([state.spec.name for state in part.stores])
            except Corrupt as failure:
                raise StateCorrupt(str(task), str(failure)) from failure
            except StateError as failure:
                raise StateUnusable(str(failure)) from failure
            if gone:
                LOG.info("task %s: removed the stores %s, which the program does not have here", task, ", ".join(gone))
        return stores

    def wipe(self, *tasks: TaskId | str) -> None:
        """Removes the state of tasks."""
        for task in tasks:
            usable(partial(self._directory.wipe, self._directory.task(str(task))))

    def open_table(self, name: str, kind: str) -> Store:
        """The store of a global table; one that cannot be read is removed. Raises StateUnusable."""
        if kind == "memory":
            return MemoryStore()
        path = self._directory.table(name)
        try:
            return RocksStore(path, self._app_id, name, self._memory)
        except Corrupt as failure:
            LOG.warning("%s; removing it, and reading the global table anew", failure)
            usable(partial(self._directory.wipe, path))
            return usable(lambda: RocksStore(path, self._app_id, name, self._memory))
        except StateError as failure:
            raise StateUnusable(str(failure)) from failure

    def keep_tables(self, names: Collection[str]) -> None:
        """Removes the global tables that are not among these: the program has them no longer."""
        for name in usable(self._directory.tables):
            if name not in names:
                usable(partial(self._directory.wipe, self._directory.table(name)))

    def sweep(self, now: int, keep: frozenset[TaskId]) -> list[str]:
        """Removes state of tasks that this process has not had for a week."""
        return usable(lambda: self._directory.sweep(now, STALE_MS, {str(task) for task in keep}))


def usable(action: Callable[[], T]) -> T:
    """What the action gives, or StateUnusable in place of an error of the state layer."""
    try:
        return action()
    except StateError as failure:
        raise StateUnusable(str(failure)) from failure
