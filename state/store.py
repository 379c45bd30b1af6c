"""What a store is: bytes under bytes, written in atomic steps that carry how far the task had read.

This file fixes the values that travel between a cache, a store and a changelog, and the errors of a state directory.
It knows neither records nor Kafka: a store name, a topic and a partition are words here. Decoded values live in
`cache.py`, the two kinds of store in `memory.py` and `rocks.py`.

    StateError                      a store or its directory cannot be used
    ├── WrongOwner                  it belongs to another application or task      use another directory
    ├── NewerFormat                 written by a later version                     upgrade
    ├── Corrupt                     its content contradicts itself                 wipe, restore
    ├── Unusable                    not writable, not a directory, disk full       fix the machine
    └── InUse                       another process has it open                    stop that process
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

__all__ = [
    "Change",
    "Corrupt",
    "InUse",
    "NewerFormat",
    "Position",
    "StateError",
    "Store",
    "TOMBSTONES_KEPT_MS",
    "StoreSpec",
    "Unusable",
    "VERSION",
    "Writer",
    "WrongOwner",
    "frame",
    "unframe",
]

TOMBSTONES_KEPT_MS = 24 * 60 * 60 * 1000
"""How long deletions are kept in a compacted topic at the least, by its `delete.retention.ms`: Kafka's default, and
what changelogs are made with."""
VERSION = b"\x01"
"""The first byte of every stored value; changelog values are the same bytes."""


class StateError(Exception):
    """A store or its directory cannot be used; the text says what happened, where, and what to do."""


class WrongOwner(StateError):
    """The directory belongs to another application or task."""


class NewerFormat(StateError):
    """The directory was written by a later version of Tidemill."""


class Corrupt(StateError):
    """The content contradicts itself. `task` is the one whose store is to be wiped and restored, "" where it is not the
    content of a store."""

    def __init__(self, message: str, task: str = "") -> None:
        super().__init__(message)
        self.task = task


class Unusable(StateError):
    """The operating system refuses: not writable, not a directory, disk full, input/output error."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class InUse(StateError):
    """Another process has the directory open; `pid` names it (0 where it could not be read).

    `stopping` is true when that process has been asked to stop, so it will let go of the directory.
    """

    def __init__(self, message: str, pid: int, *, stopping: bool = False) -> None:
        super().__init__(message)
        self.pid = pid
        self.stopping = stopping


def frame(value: bytes) -> bytes:
    """An encoded value as it is stored."""
    return VERSION + value


def unframe(raw: bytes) -> bytes:
    """The encoded value of a stored one; raises `NewerFormat` for a version byte it does not know."""
    if raw[:1] != VERSION:
        raise NewerFormat(
            f"a stored value begins with version byte {raw[:1].hex() or 'none'}, this Tidemill knows {VERSION.hex()}: "
            "it was written by a later version; upgrade, or reset the application"
        )
    return raw[1:]


class StoreSpec(msgspec.Struct, frozen=True):
    """A store as the topology declares it."""

    name: str
    kind: Literal["rocksdb", "memory"] = "rocksdb"
    changelog: bool = True


class Change(msgspec.Struct, frozen=True, gc=False):
    """One write as a value: the unit of drain, changelog and restore. A value of None deletes."""

    store: str
    key: bytes
    value: bytes | None


class Writer(NamedTuple):
    """Who wrote a record of a changelog at least once: of two, the greater one had the task later.

    The offset grows with each owner that has written anything; the generation tells two apart that found the same end.
    """

    since: int
    """Where the changelog ended when the writer took the task over."""
    generation: int
    """That of the group, by then."""


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a task's stores are, kept in the store itself so that copies and restarts keep it too.

    A part that is missing was not known to whoever wrote it: later versions add parts, and each has a safe meaning when
    it is not there.
    """

    changelogs: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """Next offsets of the changelogs, by store."""
    inputs: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """Next offsets of the inputs, by the names of `input_names.py`."""
    complete: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """When each store was last known to have everything that its changelog held, in ms since 1970 by the wall clock."""
    topic_ids: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """The ids of the changelog topics, by store: a topic that is deleted and created again has another one."""
    writers: Mapping[str, Writer] = msgspec.field(default_factory=dict[str, Writer])
    """The last one known to have written each changelog at least once, by store."""

    def merge(self, newer: Position) -> Position:
        """The entries of both, those of `newer` winning."""
        return Position(
            {**self.changelogs, **newer.changelogs},
            {**self.inputs, **newer.inputs},
            {**self.complete, **newer.complete},
            {**self.topic_ids, **newer.topic_ids},
            {**self.writers, **newer.writers},
        )

    def without(self, store: str) -> Position:
        """The same, knowing nothing of one store."""
        return Position(
            {name: offset for name, offset in self.changelogs.items() if name != store},
            self.inputs,
            {name: time for name, time in self.complete.items() if name != store},
            {name: topic_id for name, topic_id in self.topic_ids.items() if name != store},
            {name: writer for name, writer in self.writers.items() if name != store},
        )


class Store(Protocol):
    """All stores of one task that have the same kind. A name it has not seen is an empty store."""

    def get(self, store: str, key: bytes) -> bytes | None:
        """The value under the key, or None."""
        ...

    def get_many(self, store: str, keys: list[bytes]) -> list[bytes | None]:
        """The values under the keys, in their order."""
        ...

    def scan(self, store: str, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with lo <= key < hi in key order (None: to the end), as they were when `scan` was called."""
        ...

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        """Writes the changes and merges the position into the store's own: both or neither."""
        ...

    def position(self) -> Position:
        """How far the content is."""
        ...

    def clear(self, store: str) -> None:
        """Empties one store and forgets its changelog offset, atomically."""
        ...

    def flush(self, wait: bool = True) -> None:
        """Makes what was applied so far survive a crash of the process, as far as the kind of store does; without
        `wait`, some time later."""
        ...

    def size(self) -> int:
        """Bytes on disk or in memory: an estimate."""
        ...

    def close(self) -> None:
        """Makes the content durable, where the kind of store is, and lets go of it. A second call does nothing."""
        ...
