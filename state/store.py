"""Stores: keys and values as bytes, written in atomic steps together with a position.

This module defines the values that pass between a cache, a store and a changelog, and the errors of a state directory.
It knows neither records nor Kafka: store names, topics and partitions are plain strings and numbers here. Decoded
values are in `cache.py`, the two kinds of store in `memory.py` and `rocks.py`.

    StateError                      a store or its directory cannot be used
    ├── WrongOwner                  it belongs to another application or task      use another directory
    ├── NewerFormat                 written by a later version                     upgrade
    ├── CorruptStore                its content contradicts itself                 wipe, restore
    ├── Unusable                    not writable, not a directory, disk full       fix the machine
    └── InUse                       another process has it open                    stop that process
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

__all__ = [
    "TOMBSTONES_KEPT_MS",
    "VERSION",
    "Change",
    "CorruptStore",
    "InUse",
    "NewerFormat",
    "Position",
    "StateError",
    "Store",
    "StoreSpec",
    "StoredRows",
    "Unusable",
    "WriterId",
    "WrongOwner",
    "frame",
    "unframe",
]

TOMBSTONES_KEPT_MS = 24 * 60 * 60 * 1000
"""The minimum time that a compacted topic keeps deletions (`delete.retention.ms`): Kafka's default, with which
changelogs are created."""
VERSION = b"\x01"
"""The first byte of every stored value; changelog values are the same bytes."""


class StateError(Exception):
    """A store or its directory cannot be used; the text says what, where, and what to do."""


class WrongOwner(StateError):
    """The directory belongs to another application or task."""


class NewerFormat(StateError):
    """The directory was written by a later version of Tidemill."""


class CorruptStore(StateError):
    """The content contradicts itself.

    `task` is the task with the store to wipe and restore, "" if the content is not that of a store.
    """

    def __init__(self, message: str, task: str = "") -> None:
        super().__init__(message)
        self.task = task


class Unusable(StateError):
    """The operating system refuses: not writable, not a directory, disk full, I/O error."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class InUse(StateError):
    """Another process has the directory open.

    `pid` is its process id, 0 if it could not be read. `stopping` is true if that process was asked to stop, so it
    will release the directory.
    """

    def __init__(self, message: str, pid: int, *, stopping: bool = False) -> None:
        super().__init__(message)
        self.pid = pid
        self.stopping = stopping


def frame(value: bytes) -> bytes:
    """Return an encoded value as it is stored."""
    return VERSION + value


def unframe(raw: bytes) -> bytes:
    """Return the encoded value of a stored one; raise `NewerFormat` for an unknown version byte."""
    if raw[:1] != VERSION:
        raise NewerFormat(
            f"a stored value begins with version byte {raw[:1].hex() or 'none'}, but this version of Tidemill reads "
            f"{VERSION.hex()}: a later version wrote it; upgrade, or reset the application"
        )
    return raw[1:]


class StoreSpec(msgspec.Struct, frozen=True):
    """A store as the topology declares it."""

    name: str
    kind: Literal["rocksdb", "memory"] = "rocksdb"
    changelog: bool = True
    was: tuple[str, ...] = ()
    """Its former names, under one of which it may be stored."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One write as a value: the unit of drain, changelog and restore. A value of None deletes."""

    store: str
    key: bytes
    value: bytes | None


class WriterId(NamedTuple):
    """The writer of a changelog record under at-least-once.

    Of two, the greater one owned the task later. The offset grows with each owner that has written; the generation
    tells apart two owners that found the same end.
    """

    since: int
    """The end of the changelog when the writer took over the task."""
    generation: int
    """The generation of the group at that time."""


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a task's stores are.

    It is kept in the store itself so that copies and restarts keep it too. Later versions add fields. A field is
    missing if the writer's version did not have it; each has a safe meaning then.
    """

    changelogs: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """Next offsets of the changelogs, by store."""
    inputs: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """Next offsets of the inputs, by the names of `input_names.py`."""
    complete: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """When each store was last known to contain its whole changelog, in ms since 1970 by the wall clock."""
    topic_ids: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """The ids of the changelog topics, by store: a topic that is deleted and created again has another one."""
    writers: Mapping[str, WriterId] = msgspec.field(default_factory=dict[str, WriterId])
    """The last known writer of each changelog under at-least-once, by store."""
    commit: str = ""
    """The commit that the content belongs to, where stores have no changelogs; it may not have succeeded."""

    def merge(self, newer: Position) -> Position:
        """Return the entries of both; those of `newer` take precedence."""
        return Position(
            {**self.changelogs, **newer.changelogs},
            {**self.inputs, **newer.inputs},
            {**self.complete, **newer.complete},
            {**self.topic_ids, **newer.topic_ids},
            {**self.writers, **newer.writers},
            newer.commit or self.commit,
        )

    def without(self, store: str) -> Position:
        """Return the position without the entries of one store."""
        return Position(
            {name: offset for name, offset in self.changelogs.items() if name != store},
            self.inputs,
            {name: time for name, time in self.complete.items() if name != store},
            {name: topic_id for name, topic_id in self.topic_ids.items() if name != store},
            {name: writer for name, writer in self.writers.items() if name != store},
            self.commit,
        )


class Store(Protocol):
    """All stores of one task that have the same kind. An unknown name is an empty store."""

    def get(self, store: str, key: bytes) -> bytes | None:
        """Return the value of the key, or None."""
        ...

    def get_many(self, store: str, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of the keys, in their order."""
        ...

    def scan(self, store: str, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Return the pairs with lo <= key < hi (None: to the end) in key order, as of this call."""
        ...

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        """Write the changes and merge the position into the store's own: both or neither."""
        ...

    def position(self) -> Position:
        """Return the position of the content."""
        ...

    def clear(self, store: str) -> None:
        """Empty one store and forget its changelog offset, atomically."""
        ...

    def flush(self, wait: bool = True) -> None:
        """Make all applied changes survive a crash of the process, as far as the kind of store can.

        Without `wait`, this happens some time later.
        """
        ...

    def set_loading(self, loading: bool) -> None:
        """Prepare for many changes with hardly a read between them, or for normal use again.

        Nothing changes but the time that calls take. May raise what opening the store may raise.
        """
        ...

    def size(self) -> int:
        """Return the estimated bytes on disk or in memory."""
        ...

    def close(self) -> None:
        """Close the store, after a flush where it is durable. A second call does nothing."""
        ...


class StoredRows:
    """The encoded entries of one store, without uncommitted writes.

    Unlike a cache, any thread may read them.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if there is none."""
        raw = self._store.get(self._name, key)
        return None if raw is None else unframe(raw)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Return all keys and values, in the order of the keys, as of this call."""
        return ((key, unframe(raw)) for key, raw in self._store.scan(self._name, b"", None))
