"""The files of a snapshot, one by one or all, downloaded and verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from .envelope import sha256
from .manifest import Manifest, SnapshotFile, root_of
from .storage import Damaged, Storage

__all__ = ["checksum_of", "fetch_file", "fetch_snapshot"]

PIECE = 1 << 20


def checksum_of(path: Path) -> str:
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def fetch_file(storage: Storage, root: str, file: SnapshotFile, into: Path, passed: Callable[[int], None]) -> None:
    """Put a file of a snapshot into a directory; `root` is the folder of its task.

    Raises Damaged if it is not what the manifest says, or another StorageError.
    """
    target = into / file.name
    if file.content is not None:
        if sha256(file.content) != file.sha256:
            raise Damaged(f"its file {file.name} is damaged")
        target.write_bytes(file.content)
        return
    storage.get(f"{root}/{file.path}", target, passed)
    size = target.stat().st_size
    if size != file.size:
        raise Damaged(f"its file {file.name} has {size:,} bytes and not {file.size:,}")
    if checksum_of(target) != file.sha256:
        raise Damaged(f"its file {file.name} ({file.path}) is damaged: the checksum is wrong")


def fetch_snapshot(storage: Storage, manifest: Manifest, into: Path) -> None:
    """Put all files of a snapshot into a new directory. Raises StorageError."""
    into.mkdir(parents=True)
    root = root_of(manifest.application, manifest.task)
    for file in manifest.files:
        try:
            fetch_file(storage, root, file, into, lambda size: None)
        except Damaged as error:
            raise Damaged(f"a snapshot in {storage.url}/{root} cannot be used: {error}") from error
