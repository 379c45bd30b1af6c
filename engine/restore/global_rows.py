"""The rows of a global table: a copy of its topic in a store, with a cache of decoded rows.

One thread applies the records of the topic, others read. Rows are stored as encoded in the topic, or in the form of
their serdes for stores, if that is another one. Each batch is written
atomically with the position it leads to. The error policy handles a record that cannot be decoded, before it is stored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from ...operators.graph.codecs import decoder
from ...operators.graph.topology import Source
from ...operators.policy import ErrorPolicy
from ...operators.record import Batch, Record
from ...operators.stores.entries import stored_entry
from ...state.store import Change, CorruptStore, Position, StateError, Store, Unusable, frame, unframe
from ..dropped_records import SkippedRecords
from ..tasks.decoding import decode_batch

__all__ = ["GlobalRows", "place"]

ABOUT, IDENTITY = ".about", b"topic"
"""Name and key under which a store keeps the id of its topic; no table has such a name."""
ENTRY_OVERHEAD = 300
"""Bytes of memory that a decoded row takes in addition to its encoded size."""


def place(topic: str, partition: int) -> str:
    """Return the name of a partition in the position of a store."""
    return f"{topic}:{partition}"


class GlobalRows:
    """The rows of a global table in this process."""

    def __init__(self, node: Source, store: Store, policy: ErrorPolicy, memory: int) -> None:
        """Create the rows of a table; up to `memory` bytes of decoded rows are cached."""
        [state] = node.stores
        [self.topic] = node.topics
        self.node = node
        self.store = store
        self.name = state.spec.name
        self._codec = state.codec
        self._decoder = decoder(node)
        self._as_read = not any(hasattr(serde, "local") for serde in (node.key, node.value))
        """Whether rows are stored as they are in the topic; otherwise as the codec of the store writes them."""
        self._form = "" if self._as_read else " in the form for stores"
        self._policy = node.policy or policy
        self._lock = threading.Lock()
        self._memory = memory
        self._known: dict[bytes, Any] = {}  # by encoded key, since a decoded one need not be hashable
        self._mean = 0.0
        self.skips = SkippedRecords()
        """Records dropped by the error policy."""

    def __getitem__(self, key: Any) -> Any:
        """Return the entry of a key, or None if there is none."""
        raw_key = self._codec.encode_key(key)
        try:
            return self._known[raw_key]
        except KeyError:
            return self._load(raw_key)

    def scan(self, lo: bytes, hi: bytes | None) -> Iterator[tuple[Any, Any]]:
        """Yield keys and entries with lo <= encoded key < hi, in the order of encoded keys."""
        for raw_key, raw in self.store.scan(self.name, lo, hi):
            yield self._codec.decode_key(raw_key), self._codec.decode_value(unframe(raw))

    def _load(self, raw_key: bytes) -> Any:
        with self._lock:  # otherwise the value read here could replace a newer one
            raw = self._stored(raw_key)
            entry = None if raw is None else self._codec.decode_value(unframe(raw))
            size = len(raw_key) + len(raw or b"")
            self._mean += (size - self._mean) / 64
            self._known[raw_key] = entry
            if len(self._known) * (self._mean + ENTRY_OVERHEAD) > self._memory:
                for old in list(islice(self._known, len(self._known) // 8 + 1)):
                    del self._known[old]
            return entry

    def _stored(self, raw_key: bytes) -> bytes | None:
        try:
            return self.store.get(self.name, raw_key)
        except CorruptStore as failure:
            with suppress(StateError):
                self._forget_positions()
            raise Unusable(
                f"global table {self.name!r} cannot be read: {failure}; it is rebuilt from its topic when the program "
                "is restarted",
                str(failure),
            ) from failure

    def apply(self, batch: Batch) -> None:
        """Write a batch of the topic.

        Raises RecordError for a record that cannot be decoded, if the policy says so.
        """
        raw = dict(zip(batch.offsets, zip(batch.keys, batch.values, strict=True), strict=True))
        changes: list[Change] = []
        now = 0  # not compared with any timestamp, since a global table has no watermark
        for record in decode_batch(self._decoder, batch, now, self._policy, self.skips):
            key, value = raw[record.offset]
            if key is None:
                self.skips.count({(self.node.name, "null key"): 1})
            elif not self._as_read:
                changes.append(self._encoded(record))
            else:
                changes.append(
                    Change(self.name, key, value if value is None else stored_entry(record.timestamp, value))
                )
        self._write(changes, Position({place(batch.topic, batch.partition): batch.offsets[-1] + 1}))

    def _encoded(self, record: Record[Any, Any]) -> Change:
        key, value = self._codec.encode_key(record.key), record.value
        entry = None if value is None else frame(self._codec.encode_value((record.timestamp, value)))
        return Change(self.name, key, entry)

    def moved(self, topic: str, partition: int, offset: int) -> None:
        """Record that there is nothing more to read before this offset."""
        self._write([], Position({place(topic, partition): offset}))

    def complete(self, topic: str, partition: int, as_of: int) -> None:
        """Record that a partition has been read up to its end as of a time, in ms by the wall clock."""
        self._write([], Position(complete={place(topic, partition): as_of}))

    def _write(self, changes: list[Change], position: Position) -> None:
        with self._lock:
            self.store.apply(changes, position)
            for change in changes:
                self._known.pop(change.key, None)

    def empty(self) -> None:
        """Delete all rows. A crash during it leaves either the full table or one without positions."""
        with self._lock:
            self._forget_positions()
            self.store.clear(self.name)
            self._known.clear()

    def _forget_positions(self) -> None:
        for partition in self.store.position().changelogs:
            self.store.clear(partition)

    @property
    def identity(self) -> str:
        """Id of the topic that the rows were read from, or "".

        A recreated topic has another id, and so have rows that an earlier version has stored in another form.
        """
        raw = self.store.get(ABOUT, IDENTITY)
        if raw is None:
            return ""
        stored = unframe(raw).decode()
        return stored.removesuffix(self._form) if stored.endswith(self._form) else f"{stored} in another form"

    def identify(self, identity: str) -> None:
        """Store the id of the topic that the rows are read from."""
        self.store.apply([Change(ABOUT, IDENTITY, frame(f"{identity}{self._form}".encode()))], Position())

    def doubts(self) -> dict[str, str]:
        """Return warnings about timestamps that seem to be in another unit, by step."""
        return {} if self._decoder.doubt is None else {self.node.name: self._decoder.doubt}

    def drops(self) -> dict[tuple[str, str], int]:
        """Return the number of records dropped so far, by step and reason."""
        found = {(self.node.name, reason): count for reason, count in self._decoder.drops.items() if count}
        return {**self.skips.counts, **found}
