"""The interface of snapshot stores: what an object store or a file system has to offer.

Paths are relative to the URL, with `/` between their parts. A failure that may pass is `StorageError`; implementations
try again by themselves first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

__all__ = ["Damaged", "Missing", "Stopped", "Storage", "StorageError"]


class StorageError(Exception):
    """The snapshot store did not do what was asked for; the text says what, where and why.

    `lasting` is true when trying again does not help: there is no such bucket, or no right to use it.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Missing(StorageError):
    """There is no such file."""


class Damaged(StorageError):
    """A file is there and has other content than it should have."""


class Stopped(Exception):
    """What is being transferred is not wanted any more. Raised by `passed`, and handed on."""


class Storage(Protocol):
    """A snapshot store. May be used by several threads."""

    url: str

    def put(self, source: Path, path: str, passed: Callable[[int], None]) -> None:
        """Upload a file that no other process writes.

        `passed` is called with the bytes of each piece before it is sent.

        Returns when the file is durable and as long as it should be. Raises StorageError.
        """
        ...

    def put_new(self, path: str, content: bytes) -> bool:
        """Write a small file at once and completely, unless there is one: then it returns False."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of a small file. Raises Missing or StorageError."""
        ...

    def get(self, path: str, into: Path, passed: Callable[[int], None]) -> None:
        """Download a file; `passed` is called with the bytes of each piece that has arrived."""
        ...

    def list(self, folder: str) -> Mapping[str, int]:
        """Return the files below a folder, by path, with their sizes.

        The result is empty if there is no such folder.
        """
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are not there count as deleted."""
        ...
