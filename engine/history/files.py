"""The files of a history, and the positions that a sink has written beside them.

The files of `tm.parquet` come with a log for each partition of the topic that they were written from. Its latest entry
has the position: the rows of all records before it are in files, and of none after it. So the topic is read on from
there, if the files were listed in between two looks at the logs that found the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ...operators.errors import TopologyError
from ..ids import path_safe
from ..lake.commit_log import INTERNAL, CommitLog
from ..snapshots.fsspec_storage import FsspecStorage

__all__ = ["HistoryFiles", "SinkLog", "base_of", "hive_columns", "list_files", "matcher", "positions_of"]

MAGIC: Final = re.compile(r"[*?\[]")
LOG: Final = re.compile(
    rf"{INTERNAL}/(?P<application>[^/]+)/(?P<sink>[^/]+)/(?P<topic>[^/]+)/(?P<id>.+)/(?P<partition>\d+)/log/[^/]+"
)
ATTEMPTS: Final = 20


@dataclass(frozen=True)
class SinkLog:
    """The log of one partition of a sink: where the sink was, and its position."""

    application: str
    sink: str
    topic: str
    topic_id: str
    partition: int
    entry: int
    """The number of the latest entry."""
    position: int | None


@dataclass(frozen=True)
class HistoryFiles:
    """The files of a history at one moment."""

    paths: tuple[str, ...]
    """Below the base, sorted."""
    logs: tuple[SinkLog, ...]


def base_of(url: str) -> tuple[str, str]:
    """Return the folder of a URL without patterns, and the rest, "" for all files below it."""
    scheme, _, place = url.partition("://")
    parts = place.split("/")
    plain = next((at for at, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    if plain == len(parts) and place.endswith(".parquet"):
        plain -= 1
    return f"{scheme}://{'/'.join(parts[:plain])}", "/".join(parts[plain:])


def matcher(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern's paths: * stays in a folder, ** does not."""
    if not pattern:
        return re.compile(r".*\.parquet")
    found = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", pattern):
        found += {"**/": r"(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(
            part,
            f"[{part[1:-1].replace('!', '^', 1) if part[1:2] == '!' else part[1:-1]}]"
            if part[:1] == "["
            else re.escape(part),
        )
    return re.compile(found)


def hive_columns(path: str) -> dict[str, str]:
    """Return the columns that the folders of a path are: `kind=buy/`."""
    pairs = [part.partition("=") for part in path.split("/")[:-1]]
    return {name: value for name, equals, value in pairs if equals}


def list_files(storage: FsspecStorage, pattern: str) -> HistoryFiles:
    """Return the files that match a pattern, at a moment at which no sink made any visible.

    Raises StorageError, and TopologyError if a sink commits all the time.
    """
    matches = matcher(pattern)
    for _ in range(ATTEMPTS):
        before = _logs(storage)
        found = storage.list("")
        if before == _logs(storage):
            paths = [path for path in found if matches.fullmatch(path) and not _is_hidden(path)]
            return HistoryFiles(tuple(sorted(paths)), before[1])
    raise TopologyError(
        f"{storage.url}: a sink has committed files at each of {ATTEMPTS} looks: let it roll less often"
    )


def positions_of(
    logs: tuple[SinkLog, ...], topic: str, topic_id: str, partitions: int, what: str
) -> dict[int, int] | None:
    """Return the position of each partition of a topic in the files of its sink.

    It is None if no sink wrote them. Partitions without rows begin at -1, their beginning. Raises TopologyError if the
    logs are of other topics, or of several sinks; `what` begins the message.
    """
    if not logs:
        return None
    mine = [log for log in logs if log.topic == topic and log.topic_id in (topic_id, "-")]
    advice = "say where the topic begins after them, with until= (a datetime, or the first offset of each partition)"
    if not mine:
        others = ", ".join(sorted({f"{log.topic!r} by {log.application}/{log.sink}" for log in logs}))
        why = "which is another topic of that name" if any(log.topic == topic for log in logs) else "not of this topic"
        raise TopologyError(f"{what}: the positions beside the files are of {others}, {why}: {advice}")
    sinks = sorted({f"{log.application}/{log.sink}" for log in mine})
    if len(sinks) > 1:
        raise TopologyError(f"{what}: several sinks have written {topic!r} there, {' and '.join(sinks)}: {advice}")
    found = dict.fromkeys(range(partitions), -1)
    found.update({log.partition: log.position for log in mine if log.position is not None})
    return found


def _logs(storage: FsspecStorage) -> tuple[int, tuple[SinkLog, ...]]:
    """Return the number of the last compaction, and the logs, after making files visible."""
    listed = storage.list(INTERNAL)
    folders = {path.rpartition("/log/")[0]: found for path in listed if (found := LOG.fullmatch(path)) is not None}
    logs: list[SinkLog] = []
    for folder, found in sorted(folders.items()):
        number, entry = CommitLog(storage, f"{folder}/log").latest()
        position = None if entry is None else entry.position
        names = found["application"], found["sink"], found["topic"], path_safe(found["id"])
        logs.append(SinkLog(*names, int(found["partition"]), number, position))
    compactions = any(path.startswith(f"{INTERNAL}/compaction/log/") for path in listed)
    number = CommitLog(storage, f"{INTERNAL}/compaction/log").latest()[0] if compactions else 0
    return number, tuple(logs)


def _is_hidden(path: str) -> bool:
    return any(part[:1] in ("_", ".") for part in path.split("/"))
