"""The stores of a savepoint, read offline; the places that state is read from.

A savepoint is one moment of all tasks, and it has the stores in memory as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ...state.rocks import RocksMemory, RocksStore
from ...state.store import Change, Position, Store
from ..config.settings import Settings
from ..errors import ConfigError
from ..ids import TaskId
from ..offline.entries import StateSource
from ..offline.parts import DeclaredStore, OpenPart
from ..offline.snapshots import CommittedOffsets
from ..offline.sources import OWN_SNAPSHOTS, source_at
from ..offline.versions import recorded
from ..plan.store_changes import StoreFacts, VersionFacts
from ..snapshots.pins import savepoint_of
from ..snapshots.savepoint import Savepoint, SavepointTask, is_name
from ..snapshots.service import storage_at
from ..snapshots.snapshot_files import fetch_snapshot
from ..snapshots.storage import Missing, Storage
from .content import MEMORY, manifest_of
from .record_files import MemoryEntry, read_records

__all__ = ["SavepointState", "facts_at", "state_at"]

BATCH = 1_000


class SavepointState:
    """The stores of a savepoint."""

    def __init__(self, storage: Storage, savepoint: Savepoint, scratch: Path | None = None) -> None:
        """Keep downloads in `scratch` while they are read; None is the system's directory."""
        self.where = f"savepoint {savepoint.name} of {savepoint.application}"
        self._storage = storage
        self._savepoint = savepoint
        self._scratch = scratch

    def parts(self, declared: DeclaredStore) -> Iterator[OpenPart]:
        """Open the parts of a store one after the other.

        Raises ConfigError for a global table, StorageError or StateError.
        """
        if declared.subtopology is None:
            raise ConfigError(
                f"{declared.name!r} is a global table, which savepoints do not have: it is its topic, and every "
                "process reads it completely"
            )
        for part in self._savepoint.subtopologies:
            name = declared.stored_in(part.stores)
            if name is None:
                continue
            for task in self._savepoint.tasks:
                if TaskId.parse(task.task).subtopology == part.id:
                    with self._opened(task, name) as store:
                        yield OpenPart(task.task, "", store, name)

    @contextmanager
    def _opened(self, task: SavepointTask, name: str) -> Generator[Store]:
        with tempfile.TemporaryDirectory(prefix="tidemill-", dir=self._scratch) as scratch:
            path = Path(scratch) / task.task
            manifest = manifest_of(self._storage, self._savepoint, task) if task.snapshot else None
            on_disk = manifest is not None and name in manifest.stores and name not in task.loaded
            if manifest is not None and on_disk:
                fetch_snapshot(self._storage, manifest, path)
            store = RocksStore(path, self._savepoint.application, task.task, RocksMemory(MEMORY), read_only=on_disk)
            try:
                if not on_disk:
                    self._fill(store, task, name, Path(scratch) / "files")
                yield store
            finally:
                store.close()

    def _fill(self, store: Store, task: SavepointTask, name: str, scratch: Path) -> None:
        """Write the entries that are in files of the savepoint itself into an empty store."""
        entries = read_records(self._storage, self._savepoint.application, task.memory, MemoryEntry, scratch)
        mine = (Change(name, entry.key, entry.value) for entry in entries if entry.store == name)
        while batch := list(islice(mine, BATCH)):
            store.apply(batch, Position())


def state_at(place: str | None, settings: Settings, committed: CommittedOffsets | None = None) -> StateSource:
    """Return the state at a place, as `source_at` does, or that of a savepoint by its name.

    A directory of that name comes first. Raises ConfigError or StorageError.
    """
    found = _savepoint_at(place, settings)
    return source_at(place, settings, committed) if found is None else SavepointState(*found)


def facts_at(place: str | None, settings: Settings) -> VersionFacts:
    """Return the facts that state records, as `recorded` does, or a savepoint by its name.

    A savepoint says what its stores hold, and which repartition topics there were. Raises ConfigError, StateError or
    StorageError.
    """
    found = _savepoint_at(place, settings)
    if found is None:
        return recorded(place, settings)
    parts = found[1].subtopologies
    stores = {name: StoreFacts(shape) for part in parts for name, shape in part.stores.items()}
    return VersionFacts(stores, {step: () for part in parts for step in part.writes.values()})


def _savepoint_at(place: str | None, settings: Settings) -> tuple[Storage, Savepoint] | None:
    if place is None or place == OWN_SNAPSHOTS or Path(place).is_dir() or not is_name(place):
        return None
    if settings.snapshots is None:
        return None
    storage = storage_at(settings.snapshots)
    try:
        return storage, savepoint_of(storage, settings.app_id, place)
    except Missing:
        return None
