"""What a snapshot is, as a value, and its form as bytes. Pure.

A snapshot is a manifest and the files that it names. Files are never changed, and a later snapshot names those of an
earlier one that it still needs. The manifest is written last, so a snapshot is there completely or not at all:

    <url>/<application>/tasks/0_3/manifests/000000000012.json       the twelfth snapshot of task 0_3
    <url>/<application>/tasks/0_3/files/<attempt>/<sha256>          one file, uploaded by one attempt

A manifest gets the number after the highest one, and is written only if that is free: of two processes that believe
to own a task one is refused, and finds the other's manifest. Names in `files` are used once, so that nothing that a
delayed process uploads replaces a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from ...state.store import Position
from .envelope import Unreadable, sealed, unsealed

__all__ = [
    "FORMAT",
    "INLINE_BYTES",
    "Manifest",
    "SnapshotFile",
    "attempt_time",
    "decode",
    "encode",
    "file_path",
    "manifest_name",
    "new_attempt",
    "number_of",
    "root_of",
]

FORMAT = 1
"""Of the layout above; a manifest with a higher number was written by a later version."""
INLINE_BYTES = 32 << 10
"""Files up to this size travel in the manifest."""
MANIFESTS, FILES = "manifests", "files"
NAME = re.compile(r"([0-9]{12})\.json")
ATTEMPT = re.compile(r"([0-9]{13})-[0-9a-f]{12}")


class SnapshotFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a store."""

    name: str
    """In the store's directory."""
    size: int
    sha256: str
    path: str = ""
    """Where it is, below the task's directory of the snapshot store; "" where `content` has it."""
    content: bytes | None = None


class Manifest(msgspec.Struct, frozen=True):
    """A snapshot of the stores of one task, all at the same commit."""

    application: str
    task: str
    version: str
    """Of the Tidemill that wrote it."""
    generation: int
    """Of the group, when its writer became the owner of the task."""
    created: int
    """In ms since 1970, by its writer's wall clock."""
    position: Position
    """What the stores hold: offsets of changelogs and inputs, ids of topics."""
    stores: Mapping[str, str]
    """The stores of the task and, in words, what each holds; "" where that is not known."""
    topology: str
    """A hash of the task's part of the program: its stores and inputs."""
    files: Sequence[SnapshotFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def paths(self) -> frozenset[str]:
        """The files that are not in the manifest itself."""
        return frozenset(file.path for file in self.files if file.path)


class ManifestEnvelope(msgspec.Struct, frozen=True):
    """A manifest as it is stored."""

    format: int
    sha256: str = ""
    content: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="manifest")


def encode(manifest: Manifest) -> bytes:
    """Return a manifest as bytes, with a checksum."""
    return sealed(ManifestEnvelope, FORMAT, manifest)


def decode(raw: bytes) -> Manifest:
    """Return the manifest of some bytes. Raises Unreadable."""
    manifest = unsealed(ManifestEnvelope, FORMAT, Manifest, raw)
    for file in manifest.files:
        if not file.name or "/" in file.name or file.name in (".", ".."):
            raise Unreadable(f"it names a file {file.name!r}")
    return manifest


def root_of(application: str, task: str) -> str:
    """Where the snapshots of a task are, below the URL."""
    return f"{application}/tasks/{task}"


def manifest_name(number: int) -> str:
    """Return the name of a manifest, below a task's directory."""
    return f"{MANIFESTS}/{number:012d}.json"


def number_of(name: str) -> int | None:
    """Return the number of a manifest by the last part of its name; None for another file."""
    found = NAME.fullmatch(name.rpartition("/")[2])
    return None if found is None else int(found[1])


def new_attempt(now: int, nonce: int) -> str:
    """Return the name of an attempt to make a snapshot, begun at `now` in ms."""
    return f"{now:013d}-{nonce & (1 << 48) - 1:012x}"


def file_path(attempt: str, checksum: str) -> str:
    """Where an attempt puts a file, below a task's directory."""
    return f"{FILES}/{attempt}/{checksum}"


def attempt_time(path: str) -> int | None:
    """When the attempt began that uploaded a file, in ms; None when the path is none of ours."""
    parts = path.split("/")
    found = ATTEMPT.fullmatch(parts[1]) if len(parts) == 3 and parts[0] == FILES else None
    return None if found is None else int(found[1])
