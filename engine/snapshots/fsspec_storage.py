"""A snapshot store behind fsspec.

Imported only where snapshots are configured, because it needs the extra `snapshots`.

What fsspec does not promise for all its file systems is done here for the five that are supported: a file that is
written completely or not at all, and only if there is none.

    file://          written beside its place, synced, and linked there: a link to a name that exists is refused
    hdfs://          written beside its place and renamed, which HDFS refuses when the name exists
    s3://, gs://, abfs://     the request says that there must be no such object (If-None-Match and its equivalents)
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from .storage import Missing, Stopped, StorageError
from .storage_errors import is_lasting, is_starting, reason

__all__ = ["FsspecStorage", "opened"]

LOG = logging.getLogger("tidemill.snapshots")
T = TypeVar("T")
ATTEMPTS = 5
LONGEST_WAIT_SECONDS = 10
PIECE = 1 << 20
STARTING_SECONDS = 60
"""How long a store that is starting is waited for."""
HDFS_OPTIONS = {
    "dfs.client.failover.max.attempts": "3",
    "dfs.client.failover.sleep.base.millis": "200",
    "dfs.client.failover.sleep.max.millis": "1000",
}
"""The client looks for an active name node for about 3 s, and not for 3 minutes: the whole operation is tried again."""


def opened(url: str) -> FsspecStorage:
    """Return the snapshot store at a URL that was checked.

    Raises StorageError when its client cannot be made.
    """
    to_filesystem: Any = fsspec.core.url_to_fs  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    options = HDFS_OPTIONS if url.startswith("hdfs:") else {"use_listings_cache": False}
    try:
        filesystem, root = to_filesystem(url, skip_instance_cache=True, **options)
    except Exception as error:  # whatever a client raises for what it reads from its environment
        raise StorageError(f"{url} cannot be opened: {reason(error)}") from error
    return FsspecStorage(url, filesystem, root)


class FsspecStorage:
    """Files below a URL."""

    def __init__(self, url: str, filesystem: Any, root: str, wait_seconds: float = 0.5) -> None:
        """Set up a snapshot store on fsspec's `filesystem`.

        `wait_seconds` is the wait before the first retry; it doubles with each.
        """
        self.url = url
        self._files = filesystem
        self._root = root.rstrip("/")
        self._scheme = url.partition("://")[0]
        self._retrying = Retrying(
            stop=stop,
            wait=wait_exponential(wait_seconds, LONGEST_WAIT_SECONDS) + wait_random(0, wait_seconds),
            retry=retry_if_exception(lambda error: isinstance(error, Exception) and not is_lasting(error)),
            reraise=True,
        )

    def put(self, source: Path, path: str, passed: Callable[[int], None]) -> None:
        place, size = self._place(path), source.stat().st_size

        def upload() -> None:
            self._made(place)
            with source.open("rb") as file, self._files.open(place, "wb") as target:
                while piece := file.read(PIECE):
                    passed(len(piece))
                    target.write(piece)
                self._synced(target)
            if self._scheme == "file":
                _sync_folder(place)
            found = self._files.info(place)["size"]
            if found != size:
                raise OSError(f"{found:,} bytes of {size:,} have arrived")

        self._tried("written", path, upload)

    def put_new(self, path: str, content: bytes) -> bool:
        place = self._place(path)
        try:
            self._tried("written", path, lambda: self._create(place, content))
        except StorageError:
            try:
                return self.read(path) == content  # then it was an earlier try, the answer to which was lost
            except StorageError:
                pass
            raise
        return True

    def read(self, path: str) -> bytes:
        return self._tried("read", path, lambda: self._files.cat_file(self._place(path)))

    def get(self, path: str, into: Path, passed: Callable[[int], None]) -> None:
        place = self._place(path)

        def download() -> None:
            done = 0
            try:
                with self._files.open(place, "rb") as source, into.open("wb") as target:
                    while piece := source.read(PIECE):
                        target.write(piece)
                        passed(len(piece))
                        done += len(piece)
            except BaseException:
                passed(-done)
                raise

        self._tried("read", path, download)

    def open(self, path: str) -> Any:
        """Return a file that is open for reading, also of parts. Raises Missing and StorageError."""
        return self._tried("opened", path, lambda: self._files.open(self._place(path), "rb"))

    def move(self, path: str, to: str) -> None:
        """Give a file another name, which no other file has, at once.

        In object stores it is there under both names for a moment. Raises Missing and StorageError.
        """
        source, place = self._place(path), self._place(to)

        def rename() -> None:
            self._made(place)
            if self._scheme == "file":
                Path(source).replace(place)
                _sync_folder(place)
            elif self._scheme == "hdfs":
                self._files.mv(source, place, overwrite=False)
            else:
                self._files.cp_file(source, place)
                self._files.rm_file(source)

        self._tried("moved", path, rename)

    def list(self, folder: str) -> Mapping[str, int]:
        def find() -> dict[str, int]:
            with suppress(FileNotFoundError):
                found: dict[str, dict[str, Any]] = self._files.find(self._place(folder), detail=True)
                return {self._relative(name): about["size"] for name, about in found.items()}
            return {}

        return self._tried("listed", folder, find)

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            with suppress(Missing):
                self._tried("deleted", path, lambda path=path: self._files.rm_file(self._place(path)))

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _relative(self, name: str) -> str:
        """Return the path of a file that was listed; file systems differ in what they put before it."""
        stripped = self._files._strip_protocol(name)
        return stripped[len(self._files._strip_protocol(self._root)) :].lstrip("/")

    def _made(self, place: str) -> None:
        """Make the folder of a file, where there are folders."""
        if self._scheme in ("file", "hdfs"):
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)

    def _synced(self, target: Any) -> None:
        if self._scheme == "file":
            target.flush()
            os.fsync(target.fileno())

    def _create(self, place: str, content: bytes) -> None:
        """Write a file that is not there. Raises FileExistsError."""
        if self._scheme not in ("file", "hdfs"):
            self._files.pipe_file(place, content, mode="create")
            return
        self._made(place)
        beside = f"{place}.{uuid.uuid4().hex}.tmp"
        try:
            with self._files.open(beside, "wb") as target:
                target.write(content)
                self._synced(target)
            if self._scheme == "file":
                os.link(beside, place)
                _sync_folder(place)
            elif self._files.exists(place):
                raise FileExistsError(place)
            else:
                self._files.mv(beside, place, overwrite=False)
        finally:
            with suppress(Exception):  # the next collection does it
                self._files.rm_file(beside)

    def _tried(self, doing: str, path: str, action: Callable[[], T]) -> T:
        def waiting(state: RetryCallState) -> None:
            if state.attempt_number == 1 and is_starting(failure_of(state)):
                LOG.warning("%s/%s cannot be %s yet: %s", self.url, path, doing, reason(failure_of(state)))

        try:
            return self._retrying.copy(before_sleep=waiting)(action)
        except Stopped:
            raise
        except FileNotFoundError as error:
            raise Missing(f"{self.url}/{path} is not there ({reason(error)})", lasting=True) from error
        except Exception as error:  # clients raise what they like
            raise StorageError(
                f"{self.url}/{path} cannot be {doing}: {reason(error)}", lasting=is_lasting(error)
            ) from error


def stop(state: RetryCallState) -> bool:
    """Return whether to give up after this attempt."""
    if is_starting(failure_of(state)):
        return (state.seconds_since_start or 0) > STARTING_SECONDS
    return state.attempt_number >= ATTEMPTS


def failure_of(state: RetryCallState) -> BaseException:
    """Return the error of an attempt that failed."""
    failure = state.outcome.exception() if state.outcome is not None else None
    assert failure is not None
    return failure


def _sync_folder(place: str) -> None:
    """Make the name of a new file durable."""
    descriptor = os.open(os.path.dirname(place), os.O_RDONLY)  # noqa: PTH120
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
