"""A simulated state directory that loses unflushed writes in a crash.

A store on disk is a journal of atomic writes, each with its position; a crash keeps a prefix of those that were not
flushed, as RocksDB without a write-ahead log does: memtables are flushed in order, and data and position together.
Stores in memory are the real ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from tidemill.engine.errors import StateCorrupt
from tidemill.engine.group.membership import Former
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import SubTopology
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Change, CorruptStore, Position, StateError, Store

from .world import Crashed, World

__all__ = ["Disk", "DurableStore"]

ROWS, POSITION = "000001.sst", "CURRENT"
Rows = dict[str, list[tuple[bytes, bytes]]]
FLUSH_MS = 200
"""The maximum duration of a background flush."""


class Files:
    """The files of a task's store: what is on disk, and what is in memory only."""

    def __init__(self) -> None:
        self.content: dict[str, dict[bytes, bytes]] = {}
        self.position = Position()
        self.journal: list[tuple[tuple[Change, ...] | str, Position]] = []
        self.open: DurableStore | None = None
        self.corrupt = False
        self.damaged = False
        """Whether the files are damaged; detected at the next read or write."""

    def flush(self, count: int) -> None:
        """Move the oldest `count` writes to disk."""
        done, self.journal = self.journal[:count], self.journal[count:]
        for what, position in done:
            if isinstance(what, str):
                self.content.pop(what, None)
                self.position = self.position.without(what)
                continue
            for change in what:
                rows = self.content.setdefault(change.store, {})
                if change.value is None:
                    rows.pop(change.key, None)
                else:
                    rows[change.key] = change.value
            self.position = self.position.merge(position)


class DurableStore:
    """An open store of a task, backed by simulated files."""

    def __init__(self, world: World, files: Files, task: str) -> None:
        assert files.open is None, "a store is opened twice"
        files.open = self
        self._task = task
        self._world = world
        self._files = files
        self._live = MemoryStore()
        changes = [Change(name, key, value) for name, rows in files.content.items() for key, value in rows.items()]
        self._live.apply(changes, files.position)

    def get(self, store: str, key: bytes) -> bytes | None:
        return self._open()._live.get(store, key)

    def get_many(self, store: str, keys: list[bytes]) -> list[bytes | None]:
        return self._open()._live.get_many(store, keys)

    def scan(self, store: str, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return self._open()._live.scan(store, lo, hi, reverse)

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        written = tuple(changes)
        self._open()._live.apply(written, position)
        self._files.journal.append((written, position))

    def position(self) -> Position:
        """Return the position, even of a closed store: a snapshot thread may call this just after a close."""
        return self._live.position()

    def clear(self, store: str) -> None:
        self._open()._live.clear(store)
        self._files.journal.append((store, Position()))

    def set_loading(self, loading: bool) -> None:
        self.flush()

    def flush(self, wait: bool = True) -> None:
        files = self._open()._files
        if wait:
            files.flush(len(files.journal))
            return
        due = self._world.random.randint(0, len(files.journal))

        def reach() -> None:
            if files.open is self:
                files.flush(min(due, len(files.journal)))

        self._world.later(self._world.random.randint(0, FLUSH_MS), reach)

    def checkpoint(self, into: Path) -> Position:
        """Write a checkpoint: an immutable file with all rows, and a small one with the position."""
        if self._files.open is not self:
            raise StateError(f"the store of task {self._task} was closed")
        self.flush()
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        rows = {name: sorted(found.items()) for name, found in sorted(self._files.content.items())}
        (into / ROWS).write_bytes(msgspec.json.encode(rows))
        (into / POSITION).write_bytes(msgspec.json.encode(self._files.position))
        return self._files.position

    def size(self) -> int:
        return self._live.size()

    def close(self) -> None:
        if self._files.open is self:
            self._files.flush(len(self._files.journal))
            self._files.open = None

    def _open(self) -> DurableStore:
        assert self._files.open is self, "a closed store is used"
        if self._files.damaged:
            raise CorruptStore(f"the files of task {self._task} are damaged", self._task)
        return self


class Disk:
    """A state directory. It outlives the process that uses it, and is passed on to the next one."""

    def __init__(self, world: World, root: Path, *, corrupts: float = 0.0) -> None:
        """`root`: a directory for snapshots; `corrupts`: the probability that a crash damages a store."""
        self._root = root
        self._world = world
        self._corrupts = corrupts
        self._files: dict[TaskId, Files] = {}
        self._tables: dict[str, Files] = {}
        self._who: Former | None = None
        self.dead = False
        """True from the crash of its process until the next process uses it."""

    # Interface to the engine

    def open(self, task: TaskId, subtopology: SubTopology) -> Mapping[str, Store]:
        self._alive()
        kinds = {state.spec.kind for state in subtopology.stores}
        stores: dict[str, Store] = {}
        if "memory" in kinds:
            stores["memory"] = MemoryStore()
        if "rocksdb" in kinds:
            files = self._files.setdefault(task, Files())
            if files.corrupt:
                raise StateCorrupt(str(task), "its files were damaged in a crash")
            stores["rocksdb"] = DurableStore(self._world, files, str(task))
        return stores

    def open_table(self, name: str) -> Store:
        """Return the store of a global table."""
        self._alive()
        files = self._tables.setdefault(name, Files())
        if files.corrupt:
            files = self._tables[name] = Files()
        return DurableStore(self._world, files, name)

    def wipe(self, *tasks: TaskId | str) -> None:
        self._alive()
        for task in map(str, tasks):
            files = self._files.get(TaskId.parse(task))
            assert files is None or files.open is None, "a store is wiped that is open"
            self._files[TaskId.parse(task)] = Files()

    def install(self, task: TaskId, content: Path) -> None:
        """Replace the files of a task by downloaded ones."""
        self.wipe(task)
        if (content / POSITION).exists():
            files = self._files[task]
            rows = msgspec.json.decode((content / ROWS).read_bytes(), type=Rows)
            files.content = {name: dict(found) for name, found in rows.items()}
            files.position = msgspec.json.decode((content / POSITION).read_bytes(), type=Position)
        shutil.rmtree(content)

    def files(self, task: TaskId) -> Path:
        return self._root / str(task)

    def scratch(self, name: str) -> Path:
        return self._root / name

    def remember(self, member_id: str, process: str) -> None:
        self._alive()
        self._who = Former(member_id, process)

    def former(self) -> Former | None:
        return self._who

    def forget_former(self) -> None:
        self._alive()
        self._who = None

    # Fault injection

    def damage(self) -> str:
        """Damage the files of an open task, if there is one, and return its name."""
        tasks = [task for task, files in self._files.items() if files.open is not None]
        if not tasks:
            return ""
        task = self._world.random.choice(tasks)
        self._files[task].damaged = True
        return str(task)

    def crash(self) -> None:
        """Lose unflushed writes, as in a crash."""
        self.dead = True
        chance = self._world.random
        for files in (*self._files.values(), *self._tables.values()):
            if files.open is not None:
                files.flush(chance.randint(0, len(files.journal)))
                files.journal.clear()
                files.open = None
                files.corrupt = files.damaged or chance.random() < self._corrupts

    def heal(self) -> None:
        """Repair damage that was not detected yet."""
        for files in self._files.values():
            files.damaged = False

    def next_process(self) -> None:
        """Pass the directory on to the next process; close what the last one left open."""
        self.dead = False

    def _alive(self) -> None:
        if self.dead:
            raise Crashed
