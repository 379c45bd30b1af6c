"""Makes a savepoint from rows: the result of a batch computation, or a changed dump.

The rows of one store become entries, which are kept in files of the savepoint itself, under the task that their keys
belong to. The savepoint has all tasks of the application: those of another savepoint, whose other stores, positions and
records in flight it takes over, or new ones, whose other stores are empty.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ...operators.graph.store_loading import Loading
from ...operators.graph.store_rows import StoreRow
from ...operators.graph.topology import OperatorState
from ...state.rocks import RocksMemory, RocksStore
from ...state.store import Change, Position, frame, unframe
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import ConfigError
from ..failpoints import hit
from ..ids import TaskId
from ..kafka.partitioners import Partitioner
from ..plan.plan import Plan
from ..snapshots.manifest import new_attempt
from ..snapshots.savepoint import (
    InFlight,
    Savepoint,
    SavepointFile,
    SavepointInput,
    SavepointSubTopology,
    SavepointTask,
    encode,
    file_path,
    path_of,
)
from ..snapshots.storage import Storage
from ..version import VERSION
from .content import MEMORY, manifest_of
from .description import described
from .record_files import MemoryEntry, RecordFiles, TopicRecord, read_records

__all__ = ["EntryTable", "SavepointLoad", "empty_savepoint"]

BATCH = 2_000
ROWS_SAID = 100_000
"""The progress is shown after so many rows."""


class EntryTable:
    """The entries of rows, on disk, by partition."""

    def __init__(self, state: OperatorState, partitions: int, partitioner: Partitioner, path: Path) -> None:
        """`path` is a new directory. Raises ConfigError for a store that cannot be loaded."""
        loading = state.view.loading
        if isinstance(loading, str):
            raise ConfigError(f"the store {state.spec.name!r} cannot be loaded: {loading}")
        self._loading: Loading = loading
        self._codec = state.codec
        self._partitions = partitions
        self._partitioner = partitioner
        self._store = RocksStore(path, "loading", "loading", RocksMemory(MEMORY))
        self._new: dict[tuple[str, bytes], bytes] = {}

    def add(self, row: StoreRow) -> None:
        """Add a row. Raises ValueError for one that does not fit, or whose key is there already."""
        slot, entry = self._loading.entry(row)
        place = str(self._partitioner(self._loading.key(slot), self._partitions))
        raw = self._codec.encode_key(slot)
        if self._raw(place, raw) is not None:
            raise ValueError("an earlier row has the same key")
        books = list(self._loading.books(lambda other: self._look(place, other), slot, entry))
        for key, value in ((slot, entry), *books):
            self._new[place, self._codec.encode_key(key)] = frame(self._codec.encode_value(value))
        if len(self._new) >= BATCH:
            self._write()

    def entries(self, partition: int) -> Iterable[tuple[bytes, bytes]]:
        """Return the entries of a partition, in the order of their keys."""
        self._write()
        return self._store.scan(str(partition), b"", None)

    def close(self) -> None:
        self._store.close()

    def _look(self, place: str, slot: object) -> object:
        raw = self._raw(place, self._codec.encode_key(slot))
        return None if raw is None else self._codec.decode_value(unframe(raw))

    def _raw(self, place: str, key: bytes) -> bytes | None:
        return self._new.get((place, key)) or self._store.get(place, key)

    def _write(self) -> None:
        self._store.apply([Change(place, key, value) for (place, key), value in self._new.items()], Position())
        self._new.clear()


def empty_savepoint(
    plan: Plan, offsets: Mapping[TopicPartition, int], ids: Mapping[str, str], guarantee: str
) -> Savepoint:
    """Return a savepoint of a plan, all of whose stores are empty.

    `offsets` are those at which the input topics begin, `ids` the ids of these topics.
    """
    inputs = [
        SavepointInput(topic, number, offsets.get((topic, number), 0), "", ids.get(topic, ""))
        for task in plan.tasks()
        for topic, number in plan.inputs(task)
    ]
    parts: Sequence[SavepointSubTopology] = [described(part) for part in plan.subtopologies]
    tasks = [SavepointTask(str(task)) for task in plan.tasks()]
    return Savepoint("", plan.app_id, VERSION, "", 0, guarantee, parts, tasks, inputs, [])


class SavepointLoad:
    """The making of one savepoint from rows."""

    def __init__(
        self,
        storage: Storage,
        base: Savepoint,
        partitioner: Partitioner,
        scratch: Path,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Set it up.

        `base` has all that is not loaded; `partitioner` is that of the keys of the store; `scratch` is a directory of
        its own.
        """
        self._storage = storage
        self._base = base
        self._partitioner = partitioner
        self._scratch = scratch
        self._say = say
        self._now = clock.now()

    def run(
        self, name: str, nonce: int, store: str, state: OperatorState, rows: Iterable[tuple[str, StoreRow]]
    ) -> tuple[Savepoint, int]:
        """Make the savepoint `name`; return it with the number of rows.

        `store` is the name under which the savepoint has the store; a row comes with its place in words. Raises
        ConfigError for a row that does not fit, or if the name is taken meanwhile; StorageError.
        """
        part = next((part for part in self._base.subtopologies if store in part.stores), None)
        if part is None:
            raise ConfigError(f"savepoint {self._base.name} has no store {store!r}, so its place in it is not known")
        attempt = new_attempt(self._now, nonce)
        table = EntryTable(state, part.partitions, self._partitioner, self._scratch / "entries")
        try:
            count = self._read(table, rows, store)
            hit("during-load")
            tasks = [self._task(task, attempt, store, part, table) for task in self._base.tasks]
        finally:
            table.close()
            shutil.rmtree(self._scratch / "entries", ignore_errors=True)
        flying = [self._flight(flight, attempt) for flight in self._base.in_flight]
        made = self._described(name, attempt, tasks, flying)
        hit("during-load")
        if not self._storage.put_new(path_of(made.application, name), encode(made)):
            raise ConfigError(f"{made.application} has a savepoint {name!r} already: choose another name")
        return made, count

    def _read(self, table: EntryTable, rows: Iterable[tuple[str, StoreRow]], store: str) -> int:
        count = 0
        for where, row in rows:
            try:
                table.add(row)
            except Exception as error:  # whatever a serde raises
                raise ConfigError(f"{where} is no row of store {store!r}: {error}") from error
            count += 1
            if count % ROWS_SAID == 0:
                self._say(f"{count:,} rows read")
        return count

    def _task(
        self, task: SavepointTask, attempt: str, store: str, part: SavepointSubTopology, table: EntryTable
    ) -> SavepointTask:
        """Write the entries of a task that are in files, and return it."""
        files = self._files(attempt, f"memory-{task.task}")
        known = read_records(self._storage, self._base.application, task.memory, MemoryEntry, self._scratch / "memory")
        for entry in known:
            if entry.store != store:
                files.append(entry)
        task_id = TaskId.parse(task.task)
        if task_id.subtopology != part.id:
            return SavepointTask(task.task, task.snapshot, files.finish(), task.loaded)
        for key, value in table.entries(task_id.partition):
            files.append(MemoryEntry(store, key, value))
        self._say(f"entries of task {task.task} written")
        return SavepointTask(task.task, task.snapshot, files.finish(), tuple(sorted({*task.loaded, store})))

    def _flight(self, flight: InFlight, attempt: str) -> InFlight:
        """Copy the records in flight: files belong to one savepoint, and are deleted with it."""
        files = self._files(attempt, f"{flight.topic}-{flight.partition}")
        scratch = self._scratch / "in-flight"
        for record in read_records(self._storage, self._base.application, flight.files, TopicRecord, scratch):
            files.append(record)
        return InFlight(flight.topic, flight.partition, flight.begin, flight.end, files.finish())

    def _files(self, attempt: str, name: str) -> RecordFiles:
        scratch = self._scratch / "upload"
        return RecordFiles(self._storage, self._base.application, file_path(attempt, name), scratch, lambda size: None)

    def _described(
        self, name: str, attempt: str, tasks: Sequence[SavepointTask], flying: Sequence[InFlight]
    ) -> Savepoint:
        base = self._base
        snapshots = sum(manifest_of(self._storage, base, task).size for task in tasks if task.snapshot)
        files: list[SavepointFile] = [file for task in tasks for file in task.memory]
        files += [file for flight in flying for file in flight.files]
        size = snapshots + sum(file.size for file in files)
        return Savepoint(
            name,
            base.application,
            VERSION,
            attempt,
            self._now,
            base.guarantee,
            base.subtopologies,
            tasks,
            base.inputs,
            flying,
            size,
        )
