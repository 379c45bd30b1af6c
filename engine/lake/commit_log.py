"""Commits of a folder of files: numbered entries, each of which only one process can write.

An entry says what a commit makes visible: files that were written under temporary names, which are moved to their final
ones after the entry is there, by its writer or by the next one. So an entry is written at once with all of its
files and the position behind them, although they become visible one by one.

    files under temporary names -> the entry -> files under final names, files that they replace deleted

An entry is written only if there is none with its number, and counts only if there is none with a higher number: old
entries are deleted, and a process that stood still could otherwise write one of those again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec

from ..failpoints import hit
from ..snapshots.envelope import sealed, unsealed
from ..snapshots.fsspec_storage import FsspecStorage
from ..snapshots.storage import Missing

__all__ = ["INTERNAL", "KEPT", "CommitLog", "LogEntry", "NewFile", "NumberTaken"]

INTERNAL: Final = "_tidemill"
"""The folder of logs and temporary files, which readers of the data pass over."""
KEPT: Final = 20
"""Entries that are not deleted, the latest ones."""
FORMAT: Final = 1
DIGITS: Final = 12


class NewFile(msgspec.Struct, frozen=True):
    """A file that a commit makes visible."""

    temporary: str
    path: str
    rows: int


class LogEntry(msgspec.Struct, frozen=True):
    """One commit."""

    epoch: str
    """That of the owner who wrote it."""
    position: int | None
    """The offset of the next record to be written."""
    files: tuple[NewFile, ...] = ()
    replaced: tuple[str, ...] = ()
    """Files whose rows are in the new ones."""


class _LogEnvelope(msgspec.Struct, frozen=True):
    """An entry as it is stored."""

    format: int
    sha256: str
    content: msgspec.Raw


class NumberTaken(Exception):
    """Another process has written an entry meanwhile."""


class CommitLog:
    """The entries in one folder."""

    def __init__(self, storage: FsspecStorage, folder: str) -> None:
        self._storage = storage
        self._folder = folder

    def latest(self) -> tuple[int, LogEntry | None]:
        """Return the latest entry and its number, after making its files visible.

        They are 0 and None if there is none. Raises StorageError.
        """
        while numbers := self._numbers():
            try:
                raw = self._storage.read(self._path(numbers[-1]))
            except Missing:
                continue  # deleted as an old one: there are later ones
            entry = unsealed(_LogEnvelope, FORMAT, LogEntry, raw)
            self.publish(entry)
            return numbers[-1], entry
        return 0, None

    def append(self, number: int, entry: LogEntry) -> None:
        """Write the entry with a number, the next one, and make its files visible.

        Raises NumberTaken if it is not the next one, and StorageError: then it may be there or not.
        """
        if not self._storage.put_new(self._path(number), sealed(_LogEnvelope, FORMAT, entry)):
            raise NumberTaken(f"{self._path(number)} is there")
        numbers = self._numbers()
        if numbers[-1] != number:
            raise NumberTaken(f"{self._path(numbers[-1])} is there")
        hit("during-target-publish")
        self.publish(entry)
        self._storage.delete(self._path(old) for old in numbers[:-KEPT])

    def publish(self, entry: LogEntry) -> None:
        """Move the files of an entry to their final names, as far as that has not been done."""
        for file in entry.files:
            with suppress(Missing):  # it has been moved
                self._storage.move(file.temporary, file.path)
            hit("between-target-files")
        self._storage.delete(entry.replaced)

    def _numbers(self) -> list[int]:
        found = self._storage.list(self._folder)
        names = (path.rpartition("/")[2].partition(".") for path in found)
        return sorted(int(stem) for stem, _, ending in names if ending == "json" and stem.isdecimal())

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:0{DIGITS}}.json"
