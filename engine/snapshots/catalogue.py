"""The snapshots of one task that are in the snapshot store.

Each manifest is read once.
"""

from __future__ import annotations

import logging

from .choice import Found
from .envelope import Unreadable
from .manifest import decode, manifest_name, number_of, root_of
from .retention import Present
from .storage import Damaged, Missing, Storage

__all__ = ["Catalogue"]

LOG = logging.getLogger("tidemill.snapshots")


class Catalogue:
    """The manifests of a task. Used by one thread at a time."""

    def __init__(self, storage: Storage, app_id: str, task: str) -> None:
        self.root = root_of(app_id, task)
        self._storage = storage
        self._task = task
        self._read: dict[int, Found | None] = {}
        """By number; None for one that cannot be read."""

    def look(self, *, files: bool = False) -> Present:
        """Return the present content, with the paths of files on request.

        Raises StorageError.
        """
        listed = self._storage.list(self.root if files else f"{self.root}/manifests")
        relative = [path[len(self.root) + 1 :] for path in listed]
        numbers = {number for path in relative if (number := number_of(path)) is not None}
        self._read = {number: found for number, found in self._read.items() if number in numbers}
        for number in sorted(numbers - self._read.keys()):
            self._load(number)
        found = [self._read[number] for number in sorted(self._read)]
        return Present(
            tuple(one for one in found if one is not None),
            frozenset(number for number, one in self._read.items() if one is None),
            frozenset(path for path in relative if path.startswith("files/")),
        )

    def numbers(self) -> list[int]:
        """Return the numbers of the manifests, the newest first. Raises StorageError."""
        listed = self._storage.list(f"{self.root}/manifests")
        return sorted((number for path in listed if (number := number_of(path)) is not None), reverse=True)

    def read(self, number: int) -> Found:
        """Return one snapshot. Raises Missing, Damaged or another StorageError."""
        path = f"{self.root}/{manifest_name(number)}"
        try:
            return Found(number, decode(self._storage.read(path)))
        except Unreadable as error:
            raise Damaged(f"its manifest cannot be used: {error} ({self._storage.url}/{path})") from error

    def _load(self, number: int) -> None:
        try:
            self._read[number] = self.read(number)
        except Missing:  # deleted since it was listed
            pass
        except Damaged as error:
            LOG.warning("task %s: snapshot %d cannot be used: %s", self._task, number, error)
            self._read[number] = None
