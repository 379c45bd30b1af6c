"""The snapshots of a simulated process: the parts of the engine, in fibers instead of threads.

Uploads and downloads of a process run one after the other; those of several processes interleave.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tidemill.engine.clock import Clock
from tidemill.engine.config.settings import Settings
from tidemill.engine.group.membership import Membership
from tidemill.engine.snapshots.commit_snapshots import CommitSnapshots
from tidemill.engine.snapshots.downloads import Download, TaskDownload, Wanted, WantedNewest, WantedSnapshot
from tidemill.engine.snapshots.snapshotter import Snapshotter

from .bucket import SimulatedBucket
from .disk import Disk
from .world import World

__all__ = ["AtOnce", "Nonces", "ProcessSnapshots"]

LOOK_MS = 20


class AtOnce:
    """An executor that runs each call at once, in the fiber of the caller."""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*arguments))
        except Exception as failure:
            done.set_exception(failure)
        return done


class Nonces:
    """Replaces `secrets` by numbers that follow from the seed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def randbits(self, count: int) -> int:
        return self._world.random.getrandbits(count)


class ProcessSnapshots:
    """Takes and downloads the snapshots of a process; a `DownloadSource`."""

    def __init__(
        self, world: World, bucket: SimulatedBucket, disk: Disk, settings: Settings, clock: Clock, group: Membership
    ) -> None:
        self._world = world
        self._bucket = bucket
        self._disk = disk
        self._app_id = settings.app_id
        self._clock = clock
        self._downloads: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._count = 0
        common = (bucket, settings.app_id)
        more = (settings.snapshots_keep, None, lambda: group.generation, disk.scratch, clock)
        self.commits = None if settings.changelogs else CommitSnapshots(*common, *more)
        interval, alone = settings.snapshot_interval, threading.Lock()
        self.taking = Snapshotter(*common, interval, *more, alone) if settings.changelogs else None

    def fetch(self, wanted: Wanted | WantedSnapshot | WantedNewest, arrived: Callable[[], None]) -> Download:
        self._count += 1
        into = self._disk.scratch(f"download-{wanted.task}-{self._count}")
        put = self._downloads.put
        download = TaskDownload(self._bucket, self._app_id, wanted, into, self._clock, put, arrived)
        put(download.plan)
        return download

    def bodies(self) -> dict[str, Callable[[], None]]:
        """Return the functions that run in fibers, by name."""
        return {"downloads": self._download, "snapshots": self._commit if self.commits is not None else self._take}

    def _download(self) -> None:
        while True:
            self._world.wait(lambda: not self._downloads.empty())
            self._downloads.get()()

    def _commit(self) -> None:
        commits = self.commits
        assert commits is not None
        while True:
            self._world.wait(lambda: not commits.idle)
            commits.step()

    def _take(self) -> None:
        assert self.taking is not None
        while True:
            self._world.wait(None, LOOK_MS)
            self.taking.step()
