"""A process's state directory that forgets what a crash makes it forget.

A store on disk is a journal of atomic writes, each with its position; a crash keeps a prefix of those that were not
flushed, as RocksDB without a write-ahead log does, since memtables reach the disk in order and data and position
together. Stores in memory are the product's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tidemill.engine.errors import StateCorrupt
from tidemill.engine.group.membership import Former
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import SubTopology
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Change, Corrupt, Position, Store

from .world import Crashed, World

__all__ = ["Disk", "DurableStore"]

FLUSH_MS = 200
"""The longest that a flush in the background takes."""


class Files:
    """What of one task's store is on disk, and what is in memory only."""

    def __init__(self) -> None:
        self.content: dict[str, dict[bytes, bytes]] = {}
        self.position = Position()
        self.journal: list[tuple[tuple[Change, ...] | str, Position]] = []
        self.open: DurableStore | None = None
        self.corrupt = False
        self.damaged = False
        """Damage that is found the next time that anything is read or written."""

    def flush(self, count: int) -> None:
        """The oldest `count` writes reach the disk."""
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
    """An open store of a task."""

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
        assert self._files.open is self, "a closed store is used"
        return self._live.position()

    def clear(self, store: str) -> None:
        self._open()._live.clear(store)
        self._files.journal.append((store, Position()))

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

    def size(self) -> int:
        return self._live.size()

    def close(self) -> None:
        if self._files.open is self:
            self._files.flush(len(self._files.journal))
            self._files.open = None

    def _open(self) -> DurableStore:
        assert self._files.open is self, "a closed store is used"
        if self._files.damaged:
            raise Corrupt(f"the files of task {self._task} are damaged", self._task)
        return self


class Disk:
    """A state directory. It outlives the process that has it, and is given to the next one."""

    def __init__(self, world: World, *, corrupts: float = 0.0) -> None:
        """`corrupts` is the chance that a crash leaves a store unreadable."""
        self._world = world
        self._corrupts = corrupts
        self._files: dict[TaskId, Files] = {}
        self._tables: dict[str, Files] = {}
        self._who: Former | None = None
        self.dead = False
        """True from the crash of its process until the next one has it."""

    # As the engine sees it

    def open(self, task: TaskId, part: SubTopology) -> Mapping[str, Store]:
        self._alive()
        kinds = {state.spec.kind for state in part.stores}
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
        """The store of a global table."""
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

    def remember(self, member_id: str, process: str) -> None:
        self._alive()
        self._who = Former(member_id, process)

    def former(self) -> Former | None:
        return self._who

    def forget_former(self) -> None:
        self._alive()
        self._who = None

    # As those who do harm to it see it

    def damage(self) -> str:
        """Damages the files of a task that is open, if there is one; says of which."""
        tasks = [task for task, files in self._files.items() if files.open is not None]
        if not tasks:
            return ""
        task = self._world.random.choice(tasks)
        self._files[task].damaged = True
        return str(task)

    def crash(self) -> None:
        """Loses what a crash may lose."""
        self.dead = True
        chance = self._world.random
        for files in (*self._files.values(), *self._tables.values()):
            if files.open is not None:
                files.flush(chance.randint(0, len(files.journal)))
                files.journal.clear()
                files.open = None
                files.corrupt = files.damaged or chance.random() < self._corrupts

    def heal(self) -> None:
        """What is damaged and was not found to be so is well again."""
        for files in self._files.values():
            files.damaged = False

    def next_process(self) -> None:
        """Another process takes it over; whatever the last one had open is closed."""
        self.dead = False

    def _alive(self) -> None:
        if self.dead:
            raise Crashed
