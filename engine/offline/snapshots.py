"""Stores in the snapshots of a snapshot store, downloaded task by task.

The newest snapshot of each task that can be read and has the store is taken. Each is of a commit of its task; the tasks
are not at one point in time together. Where stores have no changelogs, a snapshot is stored before its commit, which
may fail: there, the one that the committed offsets name is taken.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...state.rocks import RocksMemory, RocksStore
from ...state.topic_partition import TopicPartition
from ..errors import ConfigError
from ..snapshots.catalogue import Catalogue
from ..snapshots.manifest import Manifest, number_of
from ..snapshots.snapshot_files import fetch_snapshot
from ..snapshots.storage import Missing, Storage, StorageError
from ..tasks.snapshot_marks import SnapshotMark, mark_in
from .local import MEMORY
from .parts import DeclaredStore, OpenPart, check_on_disk, tasks_of

__all__ = ["CommittedOffsets", "SnapshotState", "newest_manifests"]

CommittedOffsets = Callable[[], Mapping[TopicPartition, tuple[int, str]]]
"""Returns the committed offsets of the application, with their metadata; asked only if they matter."""


class SnapshotState:
    """The newest snapshots of an application's tasks."""

    def __init__(
        self, storage: Storage, app_id: str, scratch: Path | None = None, committed: CommittedOffsets | None = None
    ) -> None:
        """Keep downloads in `scratch` while they are read; None is the system's directory."""
        self.where = storage.url
        self._committed = committed
        self._storage = storage
        self._app_id = app_id
        self._scratch = scratch

    def shapes(self) -> dict[str, str]:
        """Return what each store holds, in words. Raises StorageError or ConfigError."""
        found: dict[str, str] = {}
        for manifest in newest_manifests(self._storage, self._app_id).values():
            found.update(manifest.stores)
        return found

    def parts(self, declared: DeclaredStore) -> Iterator[OpenPart]:
        """Open the parts of a store one after the other.

        Raises StorageError, StateError or ConfigError.
        """
        if declared.subtopology is None:
            raise ConfigError(
                f"{declared.name!r} is a global table, which snapshots do not have: it is its topic, and every process "
                "reads it completely"
            )
        check_on_disk(declared)
        found = {
            task: manifest
            for task, manifest in self._manifests().items()
            if declared.stored_in(manifest.stores) is not None
        }
        memory = RocksMemory(MEMORY)
        for task in tasks_of(declared, found, self._storage.url):
            with tempfile.TemporaryDirectory(prefix="tidemill-", dir=self._scratch) as scratch:
                path = Path(scratch) / task
                fetch_snapshot(self._storage, found[task], path)
                store = RocksStore(path, self._app_id, task, memory, read_only=True)
                try:
                    yield OpenPart(task, "", store, declared.stored_in(found[task].stores) or declared.name)
                finally:
                    store.close()

    def _manifests(self) -> dict[str, Manifest]:
        """Return the manifest of each task that is to be read."""
        newest = newest_manifests(self._storage, self._app_id)
        if not any(manifest.position.commit for manifest in newest.values()):
            return newest
        if self._committed is None:
            raise ConfigError(
                f"the snapshots in {self.where} are of stores without changelogs: which of them are committed is known "
                "from the offsets of the application, and these are not available"
            )
        marks = committed_marks(self._committed())
        found: dict[str, Manifest] = {}
        for task, manifest in newest.items():
            if not manifest.position.commit:
                found[task] = manifest
            elif task in marks:
                found[task] = self._marked(marks[task])
        return found

    def _marked(self, mark: SnapshotMark) -> Manifest:
        """Return the manifest that committed offsets name. Raises StorageError."""
        try:
            manifest = Catalogue(self._storage, self._app_id, mark.task).read(mark.number).manifest
        except Missing as error:
            raise StorageError(
                f"task {mark.task}: the committed offsets name snapshot {mark.number}: {error}"
            ) from error
        if manifest.position.commit != mark.commit:
            raise StorageError(
                f"task {mark.task}: the committed offsets name snapshot {mark.number} of commit {mark.commit}, and the "
                f"one in {self.where} is of another commit: it is a snapshot store of another application"
            )
        return manifest


def committed_marks(committed: Mapping[TopicPartition, tuple[int, str]]) -> dict[str, SnapshotMark]:
    """Return the marks of the tasks that have state, by task."""
    found: dict[str, SnapshotMark] = {}
    for _, metadata in committed.values():
        mark = mark_in(metadata)
        if mark is not None and mark.commit and mark.number >= found.get(mark.task, mark).number:
            found[mark.task] = mark
    return found


def newest_manifests(storage: Storage, app_id: str) -> dict[str, Manifest]:
    """Return the newest readable manifest of each task.

    Raises StorageError or ConfigError.
    """
    numbers: dict[str, list[int]] = {}
    for path in storage.list(f"{app_id}/tasks"):
        _, _, task, kind, *name = path.split("/")
        if kind == "manifests" and (number := number_of(name[-1])) is not None:
            numbers.setdefault(task, []).append(number)
    if not numbers:
        others = sorted({path.split("/")[0] for path in storage.list("") if "/tasks/" in path})
        hint = f"; it has some of {', '.join(others)}: name the application with --app-id" if others else ""
        raise ConfigError(f"{storage.url} has no snapshots of {app_id!r}{hint}")
    found: dict[str, Manifest] = {}
    for task, known in numbers.items():
        manifest = _newest(storage, app_id, task, known)
        if manifest is not None:
            found[task] = manifest
    return found


def _newest(storage: Storage, app_id: str, task: str, numbers: list[int]) -> Manifest | None:
    catalogue = Catalogue(storage, app_id, task)
    for number in sorted(numbers, reverse=True):
        try:
            return catalogue.read(number).manifest
        except StorageError:
            if number == min(numbers):
                raise
    return None
