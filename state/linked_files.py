"""Links the files of an open RocksDB into another directory, as they are at one moment.

RocksDB's own checkpoint does the same, but in rocksdict it holds the GIL for as long as the disk takes to sync, which
would stop the processing thread. Here nothing is locked but the files:

    1. link every table file (they are never changed, and a link keeps a file that RocksDB deletes)
    2. copy the manifest: any prefix of it describes a state that the database was in
    3. link again: a file that the manifest names existed in 2, so it was linked in 1 or created since

A file that was created after 1 and deleted before 3 is missing; opening the copy detects that, and the copy is
repeated. The write-ahead log is off, so it is left out.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["TABLE", "is_database", "link_files", "view_files"]

TABLE = ".sst"
CURRENT = "CURRENT"
SETTINGS = "rocksdict-config.json"
LEFT_OUT = ("LOCK", "LOG", ".log", ".dbtmp")


def link_files(source: Path, into: Path) -> None:
    """Make `into` a copy of the database at `source`, on the same file system. Raises OSError."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    _link_tables(source, into)
    current = (source / CURRENT).read_text()
    manifest = current.strip()
    shutil.copyfile(source / manifest, into / manifest)
    (into / CURRENT).write_text(current)
    for path in source.iterdir():
        name = path.name
        if not (name.startswith((*LEFT_OUT, "MANIFEST-", CURRENT)) or name.endswith((*LEFT_OUT, TABLE))):
            with suppress(FileNotFoundError):  # RocksDB replaces its options file
                shutil.copyfile(path, into / name)
    _link_tables(source, into)


def is_database(path: Path) -> bool:
    """Return whether a directory has a RocksDB."""
    return (path / CURRENT).is_file()


def view_files(source: Path, into: Path) -> None:
    """Make `into` a view of a database that no process has open.

    It has symbolic links, and a copy of rocksdict's settings, which are written even if a database is only read. Raises
    OSError.
    """
    into.mkdir(parents=True)
    for path in source.absolute().iterdir():
        if path.name == SETTINGS:
            shutil.copyfile(path, into / path.name)
        elif not path.name.startswith(LEFT_OUT):
            (into / path.name).symlink_to(path)


def _link_tables(source: Path, into: Path) -> None:
    for path in source.glob(f"*{TABLE}"):
        with suppress(FileNotFoundError, FileExistsError):
            os.link(path, into / path.name)
