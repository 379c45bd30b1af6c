"""The directory of one process: whose it is, who has it open, which tasks have state in it.

The engine names the directory (one for each application and worker, so that a worker started again finds its state);
this file decides what lies in it. One lock covers all of it: the tasks in it are opened by the process that holds the
lock and by no other.

    lock            held while open; holds the pid, and the word "stopping" once that process was asked to stop
    about.json      format and application
    process.json    what the process last was to the group, so that its next start can end its former self
    tasks/0_3/      the RocksDB of task 0_3
    tables/rates/   the RocksDB of the global table called rates
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

from .store import Corrupt, InUse, NewerFormat, Unusable, WrongOwner

__all__ = ["FORMAT", "Process", "StateDirectory", "holder", "read_process"]

FORMAT = 1
"""Of the layout above; a directory with a higher number was written by a later version."""

LOCK, ABOUT, PROCESS, TASKS, TABLES = "lock", "about.json", "process.json", "tasks", "tables"
WIPED = ".wiped-"


class About(msgspec.Struct, frozen=True):
    """What a directory says of itself."""

    format: int
    application: str


class Process(msgspec.Struct, frozen=True):
    """What a process is to the group."""

    process: str
    member_id: str
    directory: int = 0
    """The number of the directory that this was written in: a copy of it has another, and its process may live."""


def read_process(path: Path) -> Process | None:
    """What the process with this directory last was to the group, None if nothing legible says so, or if that is about
    a directory of which this one is a copy. Needs no lock."""
    try:
        found = msgspec.json.decode((path / PROCESS).read_bytes(), type=Process)
        return found if found.directory in (0, path.stat().st_ino) else None
    except (OSError, msgspec.DecodeError):
        return None


class StateDirectory:
    """An open state directory: no other process can open it until `close`, or until this one ends."""

    def __init__(self, path: Path, app_id: str) -> None:
        """Opens the directory, making it if it is not there.

        Raises `InUse`, `WrongOwner`, `NewerFormat`, `Corrupt` or `Unusable`.
        """
        self.path = path
        with _usable(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
        try:
            self._claim(app_id)
            with _usable(path):
                (path / TASKS).mkdir(exist_ok=True)
                for leftover in path.glob(f"{WIPED}*"):
                    shutil.rmtree(leftover)
        except BaseException:
            self.close()
            raise
        self.former = read_process(path)
        """What the process that had the directory before was to the group."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remember(self, process: str, member_id: str) -> None:
        """Writes down what this process is to the group now."""
        _write(self.path / PROCESS, msgspec.json.encode(Process(process, member_id, self.path.stat().st_ino)))

    def forget(self) -> None:
        """Says that this process has left the group: its next start has nothing to end."""
        with _usable(self.path):
            (self.path / PROCESS).unlink(missing_ok=True)

    def task(self, task: str) -> Path:
        """Where the task's state is or will be."""
        return self.path / TASKS / task

    def tasks(self) -> list[str]:
        """The tasks that have state here."""
        with _usable(self.path):
            return sorted(entry.name for entry in (self.path / TASKS).iterdir() if entry.is_dir())

    def table(self, name: str) -> Path:
        """Where the rows of a global table are or will be."""
        return self.path / TABLES / name

    def tables(self) -> list[str]:
        """The global tables that have rows here."""
        with _usable(self.path):
            return sorted(entry.name for entry in (self.path / TABLES).glob("*") if entry.is_dir())

    def age(self, state: Path, now: int) -> int:
        """For how long, in ms, no file of a task's or a table's state was written. Says nothing of its content."""
        return max(0, now - (_newest(state) or 0))

    def wipe(self, state: Path) -> None:
        """Removes a task's or a table's state, so that a crash at any moment leaves all of it or nothing."""
        with _usable(self.path):
            doomed = self.path / f"{WIPED}{uuid.uuid4().hex}"
            with suppress(FileNotFoundError):
                state.rename(doomed)
                shutil.rmtree(doomed)

    def sweep(self, now: int, max_age: int, keep: Collection[str]) -> list[str]:
        """Removes the state of tasks not in `keep` that nobody has had open for `max_age` ms; gives their names."""
        stale = [task for task in self.tasks() if task not in keep and self.age(self.task(task), now) > max_age]
        for task in stale:
            self.wipe(self.task(task))
        return stale

    def stopping(self) -> None:
        """Tells a process that waits for the directory that this one was asked to stop. May be called in any thread."""
        if self._lock >= 0:
            os.pwrite(self._lock, b"%d stopping\n" % os.getpid(), 0)

    def close(self) -> None:
        """Lets other processes have the directory. A second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _claim(self, app_id: str) -> None:
        """Checks whose the directory is; a new one becomes ours."""
        with _usable(self.path):
            try:
                raw = (self.path / ABOUT).read_bytes()
            except FileNotFoundError:
                _write(self.path / ABOUT, msgspec.json.encode(About(FORMAT, app_id)))
                return
        try:
            about = msgspec.json.decode(raw, type=About)
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"{self.path / ABOUT} is not legible: {error}; remove {self.path} to restore from the changelogs"
            ) from error
        if about.format > FORMAT:
            raise NewerFormat(
                f"the state directory {self.path} has format {about.format}, this Tidemill knows formats up to "
                f"{FORMAT}: it was written by a later version; upgrade, or remove it to restore from the changelogs"
            )
        if about.application != app_id:
            raise WrongOwner(
                f"the state directory {self.path} belongs to application {about.application!r}, not to {app_id!r}: "
                "name another one with the setting state_dir"
            )


def holder(content: bytes) -> tuple[int, bool]:
    """The pid that a lock file names, 0 if none, and whether that process was asked to stop."""
    pid, _, said = content.strip().partition(b" ")
    return int(pid) if pid.isdigit() else 0, said == b"stopping"


def _locked(path: Path) -> int:
    """The descriptor that holds the lock: the kernel lets go of it when the process ends, however it ends."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        pid, stopping = holder(os.pread(descriptor, 32, 0))
        os.close(descriptor)
        raise InUse(
            f"the state directory {path} is in use by process {pid or 'unknown'}: stop that one, or give this one "
            "another directory (setting state_dir) or, if both work for the same application, another number (setting "
            "worker)",
            pid,
            stopping=stopping,
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write(path: Path, content: bytes) -> None:
    """Replaces a file so that a crash at any moment leaves the old content or the new."""
    with _usable(path.parent):
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def _newest(path: Path) -> int | None:
    """When the newest file was written, in ms."""
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
            f"the state directory {path} cannot be used: {reason} ({where}); make room and give this user the right to "
            "write there, or name another directory with the setting state_dir",
            reason,
        ) from error
