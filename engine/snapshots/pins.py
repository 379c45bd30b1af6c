"""The savepoints in the snapshot store, and the snapshots that they keep."""

from __future__ import annotations

from contextlib import suppress

from .envelope import Unreadable
from .savepoint import Savepoint, decode, folder_of, name_in, path_of, pinned
from .storage import Missing, Storage, StorageError

__all__ = ["names_of", "pinned_numbers", "savepoint_of", "savepoints_of"]


def names_of(storage: Storage, application: str) -> list[str]:
    """Return the names of an application's savepoints. Raises StorageError."""
    found = (name_in(application, path) for path in storage.list(folder_of(application)))
    return sorted(name for name in found if name is not None)


def savepoint_of(storage: Storage, application: str, name: str) -> Savepoint:
    """Return a savepoint. Raises Missing, or StorageError if it cannot be read."""
    path = path_of(application, name)
    try:
        return decode(storage.read(path))
    except Unreadable as error:
        raise StorageError(
            f"savepoint {name} of {application} cannot be used: {error} ({storage.url}/{path})"
        ) from error


def savepoints_of(storage: Storage, application: str) -> list[Savepoint]:
    """Return all savepoints of an application. Raises StorageError if any cannot be read."""
    found: list[Savepoint] = []
    for name in names_of(storage, application):
        with suppress(Missing):  # deleted since it was listed
            found.append(savepoint_of(storage, application, name))
    return found


def pinned_numbers(storage: Storage, application: str, task: str) -> frozenset[int]:
    """Return the numbers of a task's snapshots that savepoints name.

    Raises StorageError if a savepoint cannot be read: what it names is not known then, and nothing may be deleted.
    """
    return pinned(savepoints_of(storage, application), task)
