"""The parts that take and download the snapshots of a process, put together.

Used only where snapshots are configured.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Protocol

from typing_extensions import Self

from ..clock import Clock
from ..config.settings import Settings
from ..errors import ConfigError
from .commit_snapshots import CommitSnapshots
from .downloads import Downloads, DownloadSource
from .snapshotter import NoSnapshots, Snapshots, Snapshotter
from .storage import Storage, StorageError

__all__ = ["SnapshotService", "check", "storage_at"]

LOG = logging.getLogger("tidemill.snapshots")


class Group(Protocol):
    """The group that this process is a member of."""

    @property
    def generation(self) -> int: ...


def storage_at(url: str) -> Storage:
    """Return the snapshot store at a URL of the settings.

    Its packages are imported where they are used, because importing them takes a while.
    """
    return import_module(f"{__package__}.fsspec_storage").opened(url)


def check(storage: Storage, app_id: str) -> None:
    """Write, read and remove a small file.

    Raises ConfigError when that can never work; a failure that may pass is logged.
    """
    path, content = f"{app_id}/.probe-{uuid.uuid4().hex}", b"Tidemill can write here."
    try:
        storage.put_new(path, content)
        if storage.read(path) != content:
            raise StorageError(f"{storage.url}/{path} has other content than was written", lasting=True)
        storage.delete([path])
    except StorageError as failure:
        if failure.lasting:
            raise ConfigError(
                f"the snapshot store cannot be used: {failure}. Check the setting snapshots, that the directory or "
                "bucket exists, and that this user may read, write and delete there"
            ) from failure
        LOG.warning("%s; going on without it for now", failure)


class SnapshotService:
    """The snapshots of one process. Entered, it works until it is left."""

    def __init__(self, settings: Settings, scratch: Callable[[str], Path], clock: Clock) -> None:
        """Set up the parts. Raises ConfigError.

        `scratch` returns a directory of a name, on the file system of the stores.
        """
        self._settings = settings
        self._scratch = scratch
        self._clock = clock
        self._closing = ExitStack()
        self._storage: Storage | None = None
        self.source: DownloadSource | None = None
        """Where tasks that are opened find snapshots."""
        self.uploading = Lock()
        """Held while a snapshot is taken: two at a time would get in each other's way."""
        if settings.snapshots is not None:
            try:
                self._storage = storage_at(settings.snapshots)
            except StorageError as failure:
                raise ConfigError(str(failure)) from failure
            check(self._storage, settings.app_id)
            downloads = self.source = Downloads(self._storage, settings.app_id, scratch, clock)
            self._closing.callback(downloads.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def storage(self) -> Storage | None:
        """The snapshot store, None if none is configured."""
        return self._storage

    def begin(self, group: Group) -> Snapshots:
        """Begins to take snapshots of the tasks that the loop tells of."""
        if self._storage is None or not self._settings.changelogs:
            return NoSnapshots()
        settings = self._settings
        taking = Snapshotter(
            self._storage,
            settings.app_id,
            settings.snapshot_interval,
            settings.snapshots_keep,
            settings.snapshot_bandwidth,
            lambda: group.generation,
            self._scratch,
            self._clock,
            self.uploading,
        )
        self._closing.callback(taking.close)
        taking.start()
        return taking

    def begin_commits(self, group: Group) -> CommitSnapshots | None:
        """Begins to take the snapshots of commits; None if stores have changelogs."""
        if self._storage is None or self._settings.changelogs:
            return None
        settings = self._settings
        taking = CommitSnapshots(
            self._storage,
            settings.app_id,
            settings.snapshots_keep,
            settings.snapshot_bandwidth,
            lambda: group.generation,
            self._scratch,
            self._clock,
        )
        self._closing.callback(taking.close)
        taking.start()
        return taking
