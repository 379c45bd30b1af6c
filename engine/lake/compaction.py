"""Joining small Parquet files of a folder into larger ones.

A compaction is an entry of a log of its own, `_tidemill/compaction`: the new files, and those that they replace. Of two
that begin at the same time, one is overtaken and begins again; one that was interrupted is completed by the next.

Files in the latest entry of a task stay as they are. Its owner may have stopped while an object store had a file under
both of its names, and the next owner moves that file again.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ..failpoints import hit
from ..snapshots.fsspec_storage import FsspecStorage, opened
from .commit_log import INTERNAL, CommitLog, LogEntry, NewFile, NumberTaken
from .failures import translated

__all__ = ["compact", "groups_of", "task_folders"]

pa: Final[Any] = import_module("pyarrow")
pq: Final[Any] = import_module("pyarrow.parquet")

FOLDER: Final = f"{INTERNAL}/compaction"


def compact(url: str, smaller_than: int, into: int, compression: str) -> int:
    """Join files that are smaller than `smaller_than` bytes; return how many were replaced."""
    return translated(f"compacting {url}", lambda: _compact(opened(url), smaller_than, into, compression))


def _compact(storage: FsspecStorage, smaller_than: int, into: int, compression: str) -> int:
    log = CommitLog(storage, f"{FOLDER}/log")
    while True:
        number, _ = log.latest()
        files = storage.list("")
        unsettled = {
            file.path for folder in task_folders(files) for file in _last_files(CommitLog(storage, f"{folder}/log"))
        }
        groups = groups_of(files, smaller_than, into, unsettled)
        if not groups:
            return 0
        run = uuid.uuid4().hex
        made = [_join(storage, group, f"{FOLDER}/files/{run}-{n}.tmp", compression) for n, group in enumerate(groups)]
        replaced = tuple(path for group in groups for path in group)
        hit("during-target-write")
        try:
            log.append(number + 1, LogEntry(run, None, tuple(made), replaced))
        except NumberTaken:
            storage.delete(file.temporary for file in made)
            continue
        return len(replaced)


def task_folders(files: Mapping[str, int]) -> list[str]:
    """Return the folders of the tasks that have written, by the paths of all files."""
    logs = {path.rpartition("/log/")[0] for path in files if path.startswith(f"{INTERNAL}/") and "/log/" in path}
    return sorted(logs - {FOLDER})


def groups_of(files: Mapping[str, int], smaller_than: int, into: int, unsettled: Set[str]) -> list[list[str]]:
    """Return the files to join: small ones of one folder, together about `into` bytes."""
    folders: dict[str, list[str]] = {}
    for path in sorted(files):
        if path.startswith("_") or not path.endswith(".parquet") or path in unsettled or files[path] >= smaller_than:
            continue
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    groups: list[list[str]] = []
    for paths in folders.values():
        group, size = list[str](), 0
        for path in paths:
            if group and size + files[path] > into:
                groups.append(group)
                group, size = [], 0
            group.append(path)
            size += files[path]
        groups.append(group)
    return [group for group in groups if len(group) > 1]


def _last_files(log: CommitLog) -> Sequence[NewFile]:
    _, latest = log.latest()
    return () if latest is None else latest.files


def _join(storage: FsspecStorage, paths: Sequence[str], temporary: str, compression: str) -> NewFile:
    """Write the rows of files to one, under a temporary name."""
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        local = [Path(folder) / f"{number}.parquet" for number in range(len(paths))]
        for path, place in zip(paths, local, strict=True):
            storage.get(path, place, _nothing)
        schema = pa.unify_schemas([pq.read_schema(place) for place in local], promote_options="permissive")
        joined, rows = Path(folder) / "joined", 0
        with pq.ParquetWriter(joined, schema, compression=compression) as writer:
            for place in local:
                for batch in pq.ParquetFile(place).iter_batches():
                    writer.write_table(_cast(pa.Table.from_batches([batch]), schema))
                    rows += batch.num_rows
        storage.put(joined, temporary, _nothing)
    where = paths[0].rpartition("/")[0]
    return NewFile(temporary, f"{where}/compacted-{uuid.uuid4().hex}.parquet".lstrip("/"), rows)


def _cast(table: Any, schema: Any) -> Any:
    """Return a table with the columns of a schema; those that it lacks are null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _nothing(_size: int) -> None:
    return
