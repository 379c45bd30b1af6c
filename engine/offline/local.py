"""Stores in directories of this machine: those of workers, or copies of them.

A directory is one of these:

    state_dir/              the setting state_dir: `<application>/worker-0`, `<application>/worker-1`, ...
    state_dir/views/        of one application
    .../worker-0/           of one worker, with its lock
    .../tasks/0_3/          of one task, or of one global table

A directory with a lock is locked while it is read, so that a running application is never disturbed: it is refused with
the pid of the process that holds the lock. Nothing in it is changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from ...state.directory import TABLES, TASKS, is_state_directory, reading
from ...state.linked_files import is_database, view_files
from ...state.rocks import RocksMemory, RocksStore, owner_of
from ...state.store import Position, StateError, Unusable
from .parts import GLOBAL, DeclaredStore, OpenPart, check_on_disk, furthest, tasks_of

__all__ = ["LocalState", "found_in", "worker_dirs"]

MEMORY = 64 << 20
"""Memory of RocksDB while a store is read."""


class Place(NamedTuple):
    """The directory of a task or of a global table."""

    task: str
    worker: str
    path: Path


class LocalState:
    """The state in directories of workers, or in one directory of a task."""

    def __init__(self, where: Path, app_id: str, workers: list[Path], single: Path | None = None) -> None:
        self.where = str(where)
        self._app_id = app_id
        self._workers = workers
        self._single = single

    def parts(self, declared: DeclaredStore) -> Iterator[OpenPart]:
        """Open the parts of a store one after the other. Raises StateError or ConfigError."""
        check_on_disk(declared)
        with ExitStack() as locks:
            for path in self._workers:
                locks.enter_context(reading(path, self._app_id))
            if self._single is not None and is_state_directory(self._single.parents[1]):
                locks.enter_context(reading(self._single.parents[1], self._app_id))
            memory = RocksMemory(MEMORY)
            for place in self._chosen(declared, memory):
                with self._opened(place, declared, memory) as store:
                    name = declared.stored_in(store.names())
                    assert name is not None  # or it would not have been chosen
                    yield OpenPart(place.task, place.worker, store, name)

    def names(self, memory: RocksMemory) -> list[str]:
        """Return the names of all stores of its tasks. Raises StateError."""
        found: dict[str, None] = {}
        with ExitStack() as locks:
            for path in self._workers:
                locks.enter_context(reading(path, self._app_id))
            paths = [path for worker in self._workers for path in _tasks(worker)]
            for path in paths if self._single is None else [self._single]:
                with viewed(path) as view:
                    owner = owner_of(view)
                    store = RocksStore(view, self._app_id, owner.task, memory, read_only=True)
                    found.update(dict.fromkeys(store.names()))
                    store.close()
        return [name for name in found if not name.startswith(".")]

    def _chosen(self, declared: DeclaredStore, memory: RocksMemory) -> list[Place]:
        """Return the directories to read: one per task that has the store."""
        copies: dict[str, dict[str, tuple[Place, Position]]] = {}
        for place in self._places(declared):
            with self._opened(place, declared, memory) as store:
                if declared.stored_in(store.names()) is not None:
                    copies.setdefault(place.task, {})[place.worker] = place, store.position()
        tasks = [GLOBAL] if declared.subtopology is None else tasks_of(declared, copies, self.where)
        chosen: list[Place] = []
        for task in tasks:
            mine = copies.get(task, {})
            if mine:
                best = furthest(declared.names, {worker: position for worker, (_, position) in mine.items()})
                chosen.append(mine[best][0])
        return chosen

    def _places(self, declared: DeclaredStore) -> Iterator[Place]:
        if self._single is not None:
            with viewed(self._single) as view:
                owner = owner_of(view).task
            yield Place(GLOBAL if declared.subtopology is None else owner, "", self._single)
        for worker in self._workers:
            if declared.subtopology is None:
                for name in declared.names:
                    path = worker / TABLES / name
                    if is_database(path):
                        yield Place(GLOBAL, worker.name, path)
                        break
                continue
            for path in _tasks(worker):
                yield Place(path.name, worker.name, path)

    @contextmanager
    def _opened(self, place: Place, declared: DeclaredStore, memory: RocksMemory) -> Generator[RocksStore, None, None]:
        owner = place.path.name if declared.subtopology is None else place.task
        with viewed(place.path) as view:
            store = RocksStore(view, self._app_id, owner, memory, read_only=True)
            try:
                yield store
            finally:
                store.close()


def _tasks(worker: Path) -> list[Path]:
    """Return the directories of the tasks of a worker."""
    return [path for path in sorted((worker / TASKS).glob("*_*")) if is_database(path)]


@contextmanager
def viewed(path: Path) -> Generator[Path, None, None]:
    """Show a database under another path, so that opening it changes nothing in its own.

    Errors name its own path. Raises StateError.
    """
    with tempfile.TemporaryDirectory(prefix="tidemill-") as scratch:
        view = Path(scratch) / path.name
        try:
            view_files(path, view)
            yield view
        except StateError as error:
            error.args = (str(error).replace(str(view), str(path)),)
            raise
        except OSError as error:
            raise Unusable(f"{path} cannot be read: {error}", str(error.strerror)) from error


def found_in(path: Path, app_id: str) -> LocalState | None:
    """Return the state of an application in a directory; None if it has none."""
    if is_database(path):
        return LocalState(path, app_id, [], path.absolute())
    if is_state_directory(path):
        return LocalState(path, app_id, [path])
    for folder in (path, path / app_id):
        workers = worker_dirs(folder)
        if workers:
            return LocalState(folder, app_id, workers)
    return None


def worker_dirs(folder: Path) -> list[Path]:
    """Return the directories of an application's workers in its own directory."""
    return sorted(path for path in folder.glob("worker-*") if is_state_directory(path))
