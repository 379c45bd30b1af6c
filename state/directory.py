"""The state directory of one process: its owner, its lock, and the tasks with state in it.

The engine names the directory, one per application and worker, so that a restarted worker finds its state. This module
defines its layout. One lock covers everything in it: only the process that holds the lock opens its tasks.

    lock            held while open; contains the pid, and the word "stopping" once that process was asked to stop
    about.json      format and application
    process.json    the process's last identity in the group, so that its next start can fence its former self
    tasks/0_3/      the RocksDB of task 0_3
    tables/rates/   the RocksDB of the global table named rates
    .scratch-...    temporary files and directories; the next process removes them
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from typing_extensions import Self

from .store import CorruptStore, InUse, NewerFormat, Unusable, WrongOwner

__all__ = [
    "FORMAT",
    "TABLES",
    "TASKS",
    "Process",
    "StateDirectory",
    "holder",
    "is_state_directory",
    "read_process",
    "reading",
    "scratch_in",
]

FORMAT = 1
"""The version of the layout above; a directory with a higher number was written by a later version."""

LOCK, ABOUT, PROCESS, TASKS, TABLES = "lock", "about.json", "process.json", "tasks", "tables"
WIPED, SCRATCH = ".wiped-", ".scratch-"


class DirectoryInfo(msgspec.Struct, frozen=True):
    """The content of `about.json`."""

    format: int
    application: str


class Process(msgspec.Struct, frozen=True):
    """The identity of a process in the group."""

    process: str
    member_id: str
    directory: int = 0
    """The inode of the directory that this was written in: in a copy, the number differs, and the original process
    may live."""


def read_process(path: Path) -> Process | None:
    """Return the last identity in the group of the process with this directory, or None.

    None if the file is missing or unreadable, or if this directory is a copy of the one that it was written in.
    Needs no lock.
    """
    try:
        found = msgspec.json.decode((path / PROCESS).read_bytes(), type=Process)
        return found if found.directory in (0, path.stat().st_ino) else None
    except (OSError, msgspec.DecodeError):
        return None


class StateDirectory:
    """An open state directory, locked against other processes until `close` or process exit."""

    def __init__(self, path: Path, app_id: str) -> None:
        """Open the directory, and create it if it does not exist.

        Raises `InUse`, `WrongOwner`, `NewerFormat`, `CorruptStore` or `Unusable`.
        """
        self.path = path
        with _usable(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
        try:
            self._claim(app_id)
            with _usable(path):
                (path / TASKS).mkdir(exist_ok=True)
                for leftover in (*path.glob(f"{WIPED}*"), *path.glob(f"{SCRATCH}*")):
                    _remove(leftover)
        except BaseException:
            self.close()
            raise
        self.former = read_process(path)
        """The identity in the group of the process that had the directory before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remember(self, process: str, member_id: str) -> None:
        """Write down this process's current identity in the group."""
        _write(self.path / PROCESS, msgspec.json.encode(Process(process, member_id, self.path.stat().st_ino)))

    def forget(self) -> None:
        """Remove the identity of a process that has left the group: nothing is left to fence."""
        with _usable(self.path):
            (self.path / PROCESS).unlink(missing_ok=True)

    def task(self, task: str) -> Path:
        """Return the path of the task's state, whether or not it exists."""
        return self.path / TASKS / task

    def tasks(self) -> list[str]:
        """Return the tasks that have state here."""
        with _usable(self.path):
            return sorted(entry.name for entry in (self.path / TASKS).iterdir() if entry.is_dir())

    def table(self, name: str) -> Path:
        """Return the path of a global table's rows, whether or not it exists."""
        return self.path / TABLES / name

    def tables(self) -> list[str]:
        """Return the global tables that have rows here."""
        with _usable(self.path):
            return sorted(entry.name for entry in (self.path / TABLES).glob("*") if entry.is_dir())

    def age(self, state: Path, now: int) -> int:
        """Return the time in ms since a file of this task's or table's state was last written.

        Says nothing about its content.
        """
        return max(0, now - (_newest(state) or 0))

    def wipe(self, state: Path) -> None:
        """Remove a task's or a table's state, so that a crash leaves all of it or nothing."""
        with _usable(self.path):
            doomed = self.path / f"{WIPED}{uuid.uuid4().hex}"
            with suppress(FileNotFoundError):
                state.rename(doomed)
                shutil.rmtree(doomed)

    def scratch(self, name: str) -> Path:
        """Return the path of a temporary file or directory on the file system of the state.

        It is not created. The next process removes it.
        """
        return scratch_in(self.path, name)

    def install(self, state: Path, content: Path) -> None:
        """Replace a task's state by a directory; a crash leaves the old state, the new one or none."""
        self.wipe(state)
        with _usable(self.path):
            content.rename(state)

    def remove_stale(self, now: int, max_age: int, keep: Collection[str]) -> list[str]:
        """Remove task state unused for `max_age` ms, except of tasks in `keep`; return their names."""
        stale = [task for task in self.tasks() if task not in keep and self.age(self.task(task), now) > max_age]
        for task in stale:
            self.wipe(self.task(task))
        return stale

    def stopping(self) -> None:
        """Tell a process that waits for the directory that this one was asked to stop.

        May be called in any thread.
        """
        if self._lock >= 0:
            os.pwrite(self._lock, b"%d stopping\n" % os.getpid(), 0)

    def close(self) -> None:
        """Release the directory to other processes. A second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _claim(self, app_id: str) -> None:
        """Check the owner of the directory; claim a new one."""
        with _usable(self.path):
            try:
                raw = (self.path / ABOUT).read_bytes()
            except FileNotFoundError:
                _write(self.path / ABOUT, msgspec.json.encode(DirectoryInfo(FORMAT, app_id)))
                return
        _check_owner(self.path, raw, app_id)


@contextmanager
def reading(path: Path, app_id: str) -> Generator[None, None, None]:
    """Keep processes from opening an existing state directory while it is read.

    It may be a copy without a lock, or not be writable. Raises `InUse`, `WrongOwner`, `NewerFormat`, `CorruptStore` or
    `Unusable`.
    """
    with _usable(path):
        _check_owner(path, (path / ABOUT).read_bytes(), app_id)
        lock = _locked(path) if os.access(path / LOCK, os.W_OK) else _read_locked(path)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def scratch_in(path: Path, name: str) -> Path:
    """Return the path of a temporary file or directory in a state directory."""
    return path / f"{SCRATCH}{name}"


def _remove(path: Path) -> None:
    """Remove a file, or a directory with what is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def is_state_directory(path: Path) -> bool:
    """Return whether a directory has the layout above."""
    return (path / ABOUT).is_file()


def holder(content: bytes) -> tuple[int, bool]:
    """Return the pid in a lock file, 0 if none, and whether that process was asked to stop."""
    pid, _, status = content.strip().partition(b" ")
    return int(pid) if pid.isdigit() else 0, status == b"stopping"


def _check_owner(path: Path, raw: bytes, app_id: str) -> None:
    """Check the content of `about.json`."""
    try:
        about = msgspec.json.decode(raw, type=DirectoryInfo)
    except msgspec.DecodeError as error:
        raise CorruptStore(
            f"{path / ABOUT} cannot be read: {error}; remove {path} to restore from the changelogs"
        ) from error
    if about.format > FORMAT:
        raise NewerFormat(
            f"the state directory {path} has format {about.format}, but this version of Tidemill reads "
            f"formats up to {FORMAT}: a later version wrote it; upgrade, or remove it to restore from the "
            "changelogs"
        )
    if about.application != app_id:
        raise WrongOwner(
            f"the state directory {path} belongs to application {about.application!r}, not to {app_id!r}: "
            "name another one with the setting state_dir"
        )


def _locked(path: Path) -> int:
    """Return a descriptor that holds the lock: the kernel releases it however the process ends."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take_lock(path, descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read_locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock; None if the directory has none."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        _take_lock(path, descriptor, fcntl.LOCK_SH)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _take_lock(path: Path, descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, stopping = holder(os.pread(descriptor, 32, 0))
        raise InUse(
            f"the state directory {path} is in use by process {pid or 'unknown'}: stop that process, or give this one "
            "another directory (setting state_dir) or, if both run the same application, another number (setting "
            "worker)",
            pid,
            stopping=stopping,
        ) from None


def _write(path: Path, content: bytes) -> None:
    """Replace a file so that a crash at any moment leaves the old content or the new."""
    with _usable(path.parent):
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def _newest(path: Path) -> int | None:
    """Return the modification time of the newest file, in ms."""
    times: list[int] = []
    for entry in path.glob("*"):
        with suppress(FileNotFoundError):  # RocksDB removes files in the background
            times.append(entry.stat().st_mtime_ns // 1_000_000)
    return max(times, default=None)


@contextmanager
def _usable(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = error.filename or path
        raise Unusable(
            f"the state directory {path} cannot be used: {reason} ({where}); make room and give this user write "
            "permission, or name another directory with the setting state_dir",
            reason,
        ) from error
