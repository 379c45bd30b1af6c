"""The rows of one global table: what its topic says, in a store, and decoded for those who look.

One thread applies what the topic delivers, others read. Rows are stored as the topic has them, each batch with the
position it leads to, in one atomic write; a record that cannot be read is dealt with by the policy before it is stored.
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
from ...operators.record import Batch
from ...operators.stores.entries import stored_entry
from ...state.store import Change, Corrupt, Position, StateError, Store, Unusable, frame, unframe
from ..dropped_records import Skips
from ..tasks.decoding import decoded

__all__ = ["GlobalRows", "place"]

ABOUT, IDENTITY = ".about", b"topic"
"""Where a store says which topic it is of; no table has such a name."""
ENTRY_OVERHEAD = 300
"""Bytes of memory that a decoded row takes beside its encoded size."""


def place(topic: str, partition: int) -> str:
    """How a store's position calls a partition."""
    return f"{topic}:{partition}"


class GlobalRows:
    """A global table in this process."""

    def __init__(self, node: Source, store: Store, policy: ErrorPolicy, memory: int) -> None:
        """Up to `memory` bytes of decoded rows are kept."""
        [state] = node.stores
        [self.topic] = node.topics
        self.node = node
        self.store = store
        self.name = state.spec.name
        self._codec = state.codec
        self._decoder = decoder(node)
        self._policy = node.policy or policy
        self._lock = threading.Lock()
        self._memory = memory
        self._known: dict[bytes, Any] = {}  # by encoded key, since a decoded one need not be hashable
        self._mean = 0.0
        self.skips = Skips()
        """Records that the policy has dropped."""

    def __getitem__(self, key: Any) -> Any:
        """The entry under a key, None when there is none."""
        raw_key = self._codec.encode_key(key)
        try:
            return self._known[raw_key]
        except KeyError:
            return self._load(raw_key)

    def scan(self, lo: bytes, hi: bytes | None) -> Iterator[tuple[Any, Any]]:
        """Keys and entries with lo <= encoded key < hi, in the order of encoded keys."""
        for raw_key, raw in self.store.scan(self.name, lo, hi):
            yield self._codec.decode_key(raw_key), self._codec.decode_value(unframe(raw))

    def _load(self, raw_key: bytes) -> Any:
        with self._lock:  # or what is read here could be put in place of something newer
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
        except Corrupt as failure:
            with suppress(StateError):
                self._forget_positions()
            raise Unusable(
                f"global table {self.name!r} cannot be read: {failure}; it is read from its topic when the program is "
                "started again",
                str(failure),
            ) from failure

    def apply(self, batch: Batch) -> None:
        """Takes what a partition delivered. Raises RecordError for a record that cannot be read, by the policy."""
        raw = dict(zip(batch.offsets, zip(batch.keys, batch.values, strict=True), strict=True))
        changes: list[Change] = []
        now = 0  # nothing is compared with the clock, since a global table has no watermark
        for record in decoded(self._decoder, batch, now, self._policy, self.skips):
            key, value = raw[record.offset]
            if key is None:
                self.skips.count({(self.node.name, "null key"): 1})
            else:
                changes.append(
                    Change(self.name, key, value if value is None else stored_entry(record.timestamp, value))
                )
        self._write(changes, Position({place(batch.topic, batch.partition): batch.offsets[-1] + 1}))

    def moved(self, topic: str, partition: int, offset: int) -> None:
        """There is nothing more to read before this offset."""
        self._write([], Position({place(topic, partition): offset}))

    def complete(self, topic: str, partition: int, as_of: int) -> None:
        """Keeps that everything was read which the partition held at a time, in ms by the wall clock."""
        self._write([], Position(complete={place(topic, partition): as_of}))

    def _write(self, changes: list[Change], position: Position) -> None:
        with self._lock:
            self.store.apply(changes, position)
            for change in changes:
                self._known.pop(change.key, None)

    def empty(self) -> None:
        """Forgets all rows; a crash meanwhile leaves either all of it or something that says it is not whole."""
        with self._lock:
            self._forget_positions()
            self.store.clear(self.name)
            self._known.clear()

    def _forget_positions(self) -> None:
        for partition in self.store.position().changelogs:
            self.store.clear(partition)

    @property
    def identity(self) -> str:
        """Which topic the rows are of, if that is known: a topic that is made again has the name and is another."""
        raw = self.store.get(ABOUT, IDENTITY)
        return "" if raw is None else unframe(raw).decode()

    def identify(self, identity: str) -> None:
        """Keeps which topic the rows are of."""
        self.store.apply([Change(ABOUT, IDENTITY, frame(identity.encode()))], Position())

    def doubts(self) -> dict[str, str]:
        """What is to be said of times that seem to be in another unit, by step."""
        return {} if self._decoder.doubt is None else {self.node.name: self._decoder.doubt}

    def drops(self) -> dict[tuple[str, str], int]:
        """Records dropped so far, by step and reason."""
        found = {(self.node.name, reason): count for reason, count in self._decoder.drops.items() if count}
        return {**self.skips.counts, **found}
