"""One owner's writes of Parquet files.

Imported only where it is a target, because it needs the extra `parquet`.

Each task has a log of its commits below `_tidemill`. The owner that opens the task writes an entry with its epoch; a
former owner cannot write the next one then, and nothing that is not in an entry becomes visible.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ...operators.graph.target import TargetFenced, TargetTask
from ...operators.record import Record
from ..failpoints import hit
from ..snapshots.fsspec_storage import FsspecStorage
from ..snapshots.fsspec_storage import opened as opened_storage
from ..targets.staging import StagingSession
from .commit_log import INTERNAL, CommitLog, LogEntry, NewFile, NumberTaken
from .failures import translated
from .parquet import Parquet
from .spool import Spool

__all__ = ["ParquetSession", "opened"]

ds: Final[Any] = import_module("pyarrow.dataset")
pa: Final[Any] = import_module("pyarrow")
pq: Final[Any] = import_module("pyarrow.parquet")


def opened(target: Parquet, task: TargetTask, epoch: str) -> ParquetSession:
    """Make `epoch` the one that may write, and remove what former owners have left half done."""

    storage = translated(where(target, task), lambda: opened_storage(target.url))
    session = ParquetSession(target, task, epoch, storage)
    session.claim()
    return session


def where(target: Parquet, task: TargetTask) -> str:
    """Return the beginning of a message."""
    return f"step {task.sink!r}, {target!r}"


def task_folder(task: TargetTask) -> str:
    """Return the folder with the log and the temporary files of a task."""
    return f"{INTERNAL}/{task.application}/{task.sink}/{task.topic}/{task.topic_id or '-'}/{task.partition}"


class ParquetSession(StagingSession):
    """The session of one epoch."""

    def __init__(self, target: Parquet, task: TargetTask, epoch: str, storage: FsspecStorage) -> None:
        self._target = target
        self._task = task
        self._where = where(target, task)
        self._epoch = epoch
        self._storage = storage
        self._folder = task_folder(task)
        self._log = CommitLog(storage, f"{self._folder}/log")
        self._number = 0
        """The number of the latest entry, which is of this epoch."""
        self._convert = target.layout.converter()
        self._spool = Spool(self._convert.schema)

    def claim(self) -> None:
        """Write an entry with the epoch, and delete the temporary files of former ones."""

        def claim() -> None:
            while True:
                number, latest = self._log.latest()
                entry = LogEntry(self._epoch, None if latest is None else latest.position)
                try:
                    self._log.append(number + 1, entry)
                except NumberTaken:
                    continue
                self._number = number + 1
                left = self._storage.list(f"{self._folder}/files")
                self._storage.delete(path for path in left if f"/files/{self._epoch}/" not in path)
                return

        translated(self._where, claim)

    def position(self) -> int | None:
        number, latest = translated(self._where, self._log.latest)
        if latest is None or latest.epoch != self._epoch:
            raise self._fenced()
        self._number = number
        return latest.position

    def stage(self, records: Sequence[Record[Any, Any]]) -> int:
        if records:
            self._spool.add(self._convert.rows(records))
        return self._spool.bytes

    def commit(self, position: int) -> None:
        with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
            local = Path(folder)
            if self._spool.rows:
                self._write(local, position)
            files: list[NewFile] = []
            for path in sorted(one for one in local.rglob("*.parquet") if one.is_file()):
                temporary = f"{self._folder}/files/{self._epoch}/{position}-{len(files)}.tmp"
                translated(self._where, lambda path=path, to=temporary: self._storage.put(path, to, _nothing))
                rows = pq.read_metadata(path).num_rows
                files.append(NewFile(temporary, path.relative_to(local).as_posix(), rows))
        hit("during-target-write")
        entry = LogEntry(self._epoch, position, tuple(files))
        try:
            translated(self._where, lambda: self._log.append(self._number + 1, entry))
        except NumberTaken as failure:
            raise self._fenced() from failure
        self._number += 1
        self.drop()

    def drop(self) -> None:
        self._spool.clear()

    def close(self) -> None:
        self._spool.clear()

    def _write(self, folder: Path, position: int) -> None:
        """Write what is staged to local files, in the folders of their partitions."""
        target, table = self._target, self._spool.table()
        by = pa.schema([self._convert.schema.field(name) for name in target.partition_by])
        name = f"{self._task.sink}-{self._task.partition}-{position:012}-{self._epoch[:12]}-{{i}}.parquet"
        ds.write_dataset(
            table,
            folder,
            format="parquet",
            file_options=ds.ParquetFileFormat().make_write_options(compression=target.compression),
            partitioning=ds.partitioning(by, flavor="hive") if target.partition_by else None,
            basename_template=name,
            max_partitions=max(1, table.num_rows),
            use_threads=False,
        )

    def _fenced(self) -> TargetFenced:
        return TargetFenced(f"another owner has opened {self._task} in {self._target.url} since")


def _nothing(_size: int) -> None:
    return
