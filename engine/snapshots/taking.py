"""Makes the snapshots of one task, and deletes those that are not needed any more.

    link the store's files ─▶ look at the snapshots there are ─▶ upload the files that the newest one does not name
    ─▶ look again ─▶ write the manifest, if none has been written meanwhile ─▶ delete what was condemned long enough

Runs in one thread for all tasks. A try that fails keeps what it has uploaded for the next one.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...state.store import Position
from ..clock import Clock
from ..failpoints import hit
from ..version import VERSION
from .bandwidth import Bandwidth
from .catalogue import Catalogue
from .manifest import (
    INLINE_BYTES,
    Manifest,
    SnapshotFile,
    encode,
    file_path,
    manifest_name,
    new_attempt,
)
from .pins import pinned_numbers
from .retention import GRACE_MS, ORPHAN_MS, Present, condemn, due, newest
from .snapshot_files import checksum_of
from .storage import Stopped, Storage, StorageError

__all__ = ["Copied", "Overtaken", "Subject", "Taken", "TaskSnapshots"]

LOG = logging.getLogger("tidemill.snapshots")
UPLOADS = 4
"""Files of a task that are uploaded at the same time."""


class Overtaken(Exception):
    """Another process has written a snapshot of the task meanwhile; the text says which."""


class Copied(Protocol):
    """A store that can be copied while it is used."""

    def position(self) -> Position: ...
    def checkpoint(self, into: Path) -> Position: ...


@dataclass(frozen=True)
class Subject:
    """A task of which a snapshot is taken."""

    task: str
    store: Copied
    shapes: Mapping[str, str]
    """What each store holds, in words."""
    topology: str
    generation: int
    wanted: Callable[[], bool]
    """False when the task does not run here any more."""
    committed: int = 0
    """The number of the snapshot that committed offsets name, which is kept; 0 where they name none."""


@dataclass(frozen=True)
class Taken:
    """A snapshot that was taken."""

    number: int
    created: int
    size: int
    uploaded: int
    """Bytes that were uploaded for it."""
    seconds: float


class TaskSnapshots:
    """The snapshots of one task, as the process sees them that has it."""

    def __init__(
        self, storage: Storage, app_id: str, task: str, keep: int, clock: Clock, bandwidth: Bandwidth, scratch: Path
    ) -> None:
        """`scratch` is a directory on the file system of the stores, for this object alone."""
        self._storage = storage
        self._app_id = app_id
        self._task = task
        self._keep = keep
        self._clock = clock
        self._bandwidth = bandwidth
        self._scratch = scratch
        self._catalogue = Catalogue(storage, app_id, task)
        self._before: frozenset[int] | None = None
        """The manifests that were there when the task was first seen here."""
        self._taken: Position | None = None
        """What the last snapshot holds."""
        self._checksums: dict[tuple[str, int, int, int], str] = {}
        self._unpublished: dict[str, tuple[str, int]] = {}
        """Uploaded files that no snapshot names yet: path and time by checksum."""
        self._condemned: dict[str, int] = {}

    def take(self, subject: Subject) -> Taken | None:
        """Take a snapshot; return None if the last one has everything.

        Raises StateError, StorageError or Overtaken.
        """
        now = subject.store.position()
        if self._taken is not None and (self._taken.changelogs, self._taken.commit) == (now.changelogs, now.commit):
            return None
        began = self._clock.monotonic()
        try:
            return self.upload(subject, self.link(subject), began)
        finally:
            self.drop_link()

    def link(self, subject: Subject) -> Position:
        """Link the files of the store, and return their position. Raises StateError or StorageError."""
        position = subject.store.checkpoint(self._scratch)
        if not all(position.topic_ids.get(store) for store in position.changelogs):
            raise StorageError("the brokers give topics no ids, by which a snapshot is known to be of this changelog")
        hit("during-snapshot")
        return position

    def drop_link(self) -> None:
        """Remove the linked files."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def upload(self, subject: Subject, position: Position, began: int) -> Taken:
        """Upload the linked files as a snapshot of this position.

        `began` is when they were linked, in ms. Raises StorageError, Overtaken or Stopped.
        """
        created = self._clock.now()
        present = self._look(subject)
        head = newest(present.snapshots, position.topic_ids)
        self._unpublished = {
            checksum: (path, at) for checksum, (path, at) in self._unpublished.items() if began - at < ORPHAN_MS // 2
        }
        attempt = new_attempt(created, secrets.randbits(48))
        there = {checksum: path for checksum, (path, _) in self._unpublished.items()}
        if head is not None:
            there |= {file.sha256: file.path for file in head.manifest.files if file.path}
        files: list[SnapshotFile] = []
        missing: dict[str, tuple[Path, str]] = {}
        for path, size, checksum in self._contents():
            if size <= INLINE_BYTES:
                files.append(SnapshotFile(path.name, size, checksum, content=path.read_bytes()))
                continue
            place = there.get(checksum) or file_path(attempt, checksum)
            files.append(SnapshotFile(path.name, size, checksum, place))
            if checksum not in there:
                missing[checksum] = (path, place)
        uploaded = self._send(subject, missing, began)
        hit("during-upload")
        manifest = Manifest(
            self._app_id,
            self._task,
            VERSION,
            subject.generation,
            created,
            position,
            dict(subject.shapes),
            subject.topology,
            files,
        )
        hit("before-manifest")
        number = self._publish(subject, manifest, head.number if head is not None else None, began)
        hit("after-manifest")
        self._taken = position
        return Taken(number, created, manifest.size, uploaded, (self._clock.monotonic() - began) / 1000)

    def _look(self, subject: Subject) -> Present:
        """Return the present content of the snapshot store.

        Raises Overtaken when a later owner has written a snapshot since this process got the task.
        """
        present = self._catalogue.look()
        if self._before is None:
            self._before = frozenset(found.number for found in present.snapshots)
        for found in present.snapshots:
            if found.number not in self._before and found.manifest.generation > subject.generation:
                raise Overtaken(
                    f"snapshot {found.number} is of generation {found.manifest.generation} of the group, this process "
                    f"has the task since generation {subject.generation}"
                )
        return present

    def _contents(self) -> Iterator[tuple[Path, int, str]]:
        """Return the linked files, with sizes and checksums.

        Files that were seen before are not read again.
        """
        known, self._checksums = self._checksums, {}
        for path in sorted(self._scratch.iterdir()):
            about = path.stat()
            identity = (path.name, about.st_size, about.st_mtime_ns, about.st_ino)
            checksum = known.get(identity) or checksum_of(path)
            self._checksums[identity] = checksum
            yield path, about.st_size, checksum

    def _send(self, subject: Subject, missing: Mapping[str, tuple[Path, str]], began: int) -> int:
        """Upload files, some at a time; return the bytes sent. After a failure the others end first."""

        failed = threading.Event()

        def passed(size: int) -> None:
            if failed.is_set() or not subject.wanted():
                raise Stopped
            self._bandwidth.take(size)

        def send(checksum: str, path: Path, place: str) -> int:
            try:
                self._storage.put(path, f"{self._catalogue.root}/{place}", passed)
            except BaseException:
                failed.set()
                raise
            self._unpublished[checksum] = (place, began)
            hit("during-upload")
            return path.stat().st_size

        with ThreadPoolExecutor(UPLOADS, "tidemill-upload") as pool:
            sending = [pool.submit(send, checksum, path, place) for checksum, (path, place) in missing.items()]
        failures = [failure for done in sending if (failure := done.exception()) is not None]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, Stopped)):
            raise failure
        return sum(done.result() for done in sending)

    def _publish(self, subject: Subject, manifest: Manifest, head: int | None, began: int) -> int:
        """Write the manifest with the number after the highest, and return that."""
        looked = self._clock.monotonic()
        if looked - began > ORPHAN_MS // 2:
            raise StorageError(f"the snapshot of task {self._task} took too long: raise snapshot_bandwidth")
        present = self._look(subject)
        now_newest = newest(present.snapshots, manifest.position.topic_ids)
        if (None if now_newest is None else now_newest.number) != head:
            raise Overtaken(f"snapshot {now_newest.number if now_newest else head} came or went meanwhile")
        there = [found.number for found in present.snapshots]
        number = max(subject.committed, *there, *present.unreadable, 0) + 1
        path = f"{self._catalogue.root}/{manifest_name(number)}"
        if not self._storage.put_new(path, encode(manifest)):
            raise Overtaken(f"another process has written snapshot {number}")
        if self._clock.monotonic() - looked > GRACE_MS // 2:
            self._storage.delete([path])
            raise StorageError(f"the manifest of task {self._task} took too long to write, and was withdrawn")
        named = manifest.paths
        self._unpublished = {sha: (path, at) for sha, (path, at) in self._unpublished.items() if path not in named}
        return number

    def collect(self, committed: int = 0) -> None:
        """Delete what has not been needed for long enough.

        The snapshot with the number `committed` is kept. A failure is logged: the next snapshot tries again.
        """
        assert self._taken is not None
        now, wall, ids = self._clock.monotonic(), self._clock.now(), self._taken.topic_ids
        try:
            present = self._catalogue.look(files=True)
            found = condemn(present, ids, self._keep, self._condemned, now, wall, [committed])
            if due(found, now):
                pinned = {committed, *pinned_numbers(self._storage, self._app_id, self._task)}
                found = condemn(present, ids, self._keep, self._condemned, now, wall, pinned)
            self._condemned = found
            doomed = due(found, now)
            self._storage.delete(f"{self._catalogue.root}/{path}" for path in doomed)
        except StorageError as failure:
            LOG.warning("task %s: old snapshots cannot be deleted: %s", self._task, failure)
