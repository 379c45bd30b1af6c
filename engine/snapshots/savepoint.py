"""What a savepoint is, as a value, and its form as bytes. Pure.

A savepoint is a named consistent cut through all tasks of an application. Its manifest names, for each task, the
snapshot that was taken at the cut, and for each input partition the offset that was committed there. What repartition
topics held between the tasks at that moment, and the content of stores in memory, are files of the savepoint itself:

    <url>/<application>/savepoints/<name>.json                       the manifest, written last
    <url>/<application>/savepoints/files/<attempt>/<file>            records in flight, stores in memory
    <url>/<application>/tasks/0_3/manifests/000000000012.json        the snapshot of task 0_3 that it names
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from .envelope import sealed, sha256, unsealed

__all__ = [
    "FORMAT",
    "InFlight",
    "Savepoint",
    "SavepointFile",
    "SavepointInput",
    "SavepointOutput",
    "SavepointSubTopology",
    "SavepointTask",
    "decode",
    "encode",
    "file_path",
    "folder_of",
    "is_name",
    "name_in",
    "path_of",
    "pinned",
]

FORMAT = 1
"""Of the layout above; a manifest with a higher number was written by a later version."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SUFFIX = ".json"


class SavepointFile(msgspec.Struct, frozen=True):
    """A file of records: see `engine/savepoints/record_files.py`."""

    path: str
    """Below the folder of the application's savepoints."""
    size: int
    sha256: str
    records: int


class SavepointSubTopology(msgspec.Struct, frozen=True):
    """A sub-topology as the application ran it."""

    id: int
    name: str
    """The first topic or pattern that it reads."""
    fingerprint: str
    """A hash of its steps, inputs and stores."""
    partitions: int
    """The number of its tasks."""
    inputs: Sequence[str]
    """The topics that it reads."""
    stores: Mapping[str, str]
    """Its stores and, in words, what each holds; "" where that is not known."""
    changelogs: Mapping[str, str]
    """Changelog topics by store, for stores that have one."""
    writes: Mapping[str, str]
    """The repartition topics that it writes, with the name of the step."""
    outputs: tuple[str, ...] = ()
    """The output topics that it names."""


class SavepointTask(msgspec.Struct, frozen=True):
    """The state of one task."""

    task: str
    snapshot: int = 0
    """The number of the snapshot with its stores on disk; 0 if it has none."""
    memory: Sequence[SavepointFile] = ()
    """The entries of its stores in memory, and of those in `loaded`."""
    loaded: tuple[str, ...] = ()
    """Stores whose entries are in `memory` and not in the snapshot, whatever that has."""


class SavepointInput(msgspec.Struct, frozen=True):
    """The position of a task in one partition of a topic that it reads."""

    topic: str
    partition: int
    offset: int
    """The next offset to process."""
    metadata: str
    """What was committed with the offset: stream time, watermarks, ids of topics."""
    topic_id: str = ""


class SavepointOutput(msgspec.Struct, frozen=True):
    """Where a partition of an output topic ended at the cut."""

    topic: str
    partition: int
    end: int
    """What the application has written after the savepoint is not before this offset."""


class InFlight(msgspec.Struct, frozen=True):
    """What a partition of a repartition topic held at the cut that was not processed."""

    topic: str
    partition: int
    begin: int
    end: int
    files: Sequence[SavepointFile]

    @property
    def records(self) -> int:
        """The number of records, with marks."""
        return sum(file.records for file in self.files)


class Savepoint(msgspec.Struct, frozen=True):
    """A consistent cut through all tasks of an application."""

    name: str
    application: str
    version: str
    """Of the Tidemill that wrote it."""
    attempt: str
    """The attempt that made it."""
    created: int
    """When the tasks were held, in ms since 1970 by the wall clock of the machine with the command."""
    guarantee: str
    subtopologies: Sequence[SavepointSubTopology]
    tasks: Sequence[SavepointTask]
    inputs: Sequence[SavepointInput]
    in_flight: Sequence[InFlight]
    size: int = 0
    """Bytes of all files that it names."""
    outputs: tuple[SavepointOutput, ...] = ()
    """The ends of the output topics that the application names; none in savepoints of earlier versions."""

    @property
    def topology(self) -> str:
        """A hash of all sub-topologies."""
        return sha256("\n".join(sorted(part.fingerprint for part in self.subtopologies)).encode())[:16]

    @property
    def files(self) -> Sequence[SavepointFile]:
        """The files that belong to the savepoint itself."""
        flying = [file for one in self.in_flight for file in one.files]
        return [*flying, *(file for task in self.tasks for file in task.memory)]


class SavepointEnvelope(msgspec.Struct, frozen=True):
    """A manifest as it is stored."""

    format: int
    sha256: str = ""
    content: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="savepoint")


def encode(savepoint: Savepoint) -> bytes:
    """Return a savepoint's manifest as bytes, with a checksum."""
    return sealed(SavepointEnvelope, FORMAT, savepoint)


def decode(raw: bytes) -> Savepoint:
    """Return the savepoint of some bytes. Raises Unreadable."""
    return unsealed(SavepointEnvelope, FORMAT, Savepoint, raw)


def is_name(text: str) -> bool:
    """Return whether a savepoint may have this name."""
    return NAME.fullmatch(text) is not None and not text.endswith(SUFFIX)


def folder_of(application: str) -> str:
    """Where the savepoints of an application are, below the URL."""
    return f"{application}/savepoints"


def path_of(application: str, name: str) -> str:
    """Where the manifest of a savepoint is, below the URL."""
    return f"{folder_of(application)}/{name}{SUFFIX}"


def file_path(attempt: str, name: str) -> str:
    """Where an attempt puts a file of the savepoint itself, below the folder of savepoints."""
    return f"files/{attempt}/{name}"


def name_in(application: str, path: str) -> str | None:
    """Return the name of the savepoint whose manifest has this path, or None for another file."""
    folder, slash, last = path.rpartition("/")
    name = last.removesuffix(SUFFIX)
    return name if slash and folder == folder_of(application) and last.endswith(SUFFIX) and is_name(name) else None


def pinned(savepoints: Sequence[Savepoint], task: str) -> frozenset[int]:
    """Return the numbers of a task's snapshots that savepoints name."""
    return frozenset(
        one.snapshot for savepoint in savepoints for one in savepoint.tasks if one.task == task and one.snapshot
    )
