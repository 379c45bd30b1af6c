"""Partitions and transactions in memory, with late markers, fencing and compaction.

A commit is decided at the coordinator, and becomes visible in each partition when the marker arrives there: until then
the last stable offset of the partition is before the transaction, and the high watermark is after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from tidemill.state.topic_partition import TopicPartition

__all__ = ["Entry", "Fenced", "Marker", "Refused", "Transaction", "Transactional", "Transactions"]

Headers = "list[tuple[str, bytes]] | None"
GROUP: TopicPartition = ("__consumer_offsets", 0)
"""Represents the group's offsets among the partitions of a transaction."""


class Refused(Exception):
    """An error response; `code` is Kafka's error code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Fenced(Refused):
    """The producer's epoch is not the newest one."""

    def __init__(self) -> None:
        super().__init__(47)


class Transaction:
    """One transaction of one producer."""

    __slots__ = ("began", "decided", "epoch", "name", "partitions", "producer", "unmarked")

    def __init__(self, name: str, producer: int, epoch: int, began: int) -> None:
        self.name = name
        self.producer = producer
        self.epoch = epoch
        self.began = began
        self.partitions: dict[TopicPartition, None] = {}
        self.decided: Literal["", "commit", "abort"] = ""
        self.unmarked: dict[TopicPartition, None] = {}
        """Partitions that its marker has not reached."""


class Entry(NamedTuple):
    """A record or a marker."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]] | None
    transaction: Transaction | None
    marker: bool = False

    @property
    def committed(self) -> bool:
        """Whether a read_committed consumer sees the record once it is stable."""
        return not self.marker and (self.transaction is None or self.transaction.decided == "commit")


class Marker(NamedTuple):
    """A transaction marker on its way to a partition."""

    transaction: Transaction
    partition: TopicPartition


class Partition:
    """A log."""

    __slots__ = ("begin", "deleted", "end", "entries", "unstable")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.begin = 0
        self.end = 0
        """The high watermark."""
        self.deleted: dict[int, int] = {}
        """When tombstones were written, by offset."""
        self.unstable: dict[Transaction, int] = {}
        """First offsets of transactions without a marker here."""

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return min(self.unstable.values()) if self.unstable else self.end

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp: int,
        headers: list[tuple[str, bytes]] | None,
        transaction: Transaction | None = None,
        *,
        marker: bool = False,
    ) -> int:
        offset = self.end
        self.end += 1
        if transaction is not None and not marker:
            self.unstable.setdefault(transaction, offset)
        self.entries.append(Entry(offset, key, value, timestamp, headers, transaction, marker))
        return offset

    def read(self, offset: int, end: int, *, committed: bool) -> Iterator[Entry]:
        """Return the records from an offset up to an end, which the caller limits to the last stable offset."""
        for entry in self.entries[bisect_left(self.entries, (offset,)) :]:
            if entry.offset >= end:
                return
            if entry.committed if committed else not entry.marker:
                yield entry

    def delete_before(self, offset: int) -> None:
        if offset > self.begin:
            self.begin = min(offset, self.end)
            del self.entries[: bisect_left(self.entries, (self.begin,))]

    def behead(self) -> None:
        """Move the start offset to the first remaining record, past what was compacted away."""
        self.delete_before(self.entries[0].offset if self.entries else self.stable)

    def compact(self, below: int, forgotten: int = -1) -> None:
        """Keep the newest committed record per key below an offset, and all records from there on; tombstones only
        if they were written after the time `forgotten`."""
        below = min(below, self.stable)
        kept: list[Entry] = []
        seen: set[bytes | None] = set()
        for entry in reversed(self.entries):
            if entry.offset >= below:
                kept.append(entry)
                if entry.committed and entry.offset < self.stable:
                    seen.add(entry.key)
            elif entry.committed and entry.key not in seen:
                seen.add(entry.key)
                kept.append(entry)
        self.entries = [
            entry
            for entry in kept[::-1]
            if entry.value is not None or entry.offset >= below or self.deleted.get(entry.offset, 0) > forgotten
        ]


class Transactional:
    """The coordinator's state of one transactional id."""

    __slots__ = ("epoch", "last", "producer", "transaction")

    def __init__(self, producer: int) -> None:
        self.producer = producer
        self.epoch = -1
        self.transaction: Transaction | None = None
        """The transaction that is open, or whose markers have not all arrived."""
        self.last = ""
        """How the previous transaction ended."""


class Transactions:
    """The transaction coordinator. `send` delivers markers, at once or later."""

    def __init__(self, now: Callable[[], int], send: Callable[[Marker], None]) -> None:
        self._now = now
        self._send = send
        self.known: dict[str, Transactional] = {}

    def init(self, name: str, expected: tuple[int, int] | None = None) -> tuple[int, int]:
        """Register a producer, and return its id and epoch. Refused(51) while an earlier transaction is ending."""
        one = self.known.get(name)
        if one is None:
            if expected is not None:
                raise Refused(105)
            one = self.known[name] = Transactional(1000 + len(self.known))
        if expected is not None and expected not in ((one.producer, one.epoch), (one.producer, one.epoch - 1)):
            raise Refused(90)
        if one.transaction is not None:
            if not one.transaction.decided:
                one.epoch += 1
                self._decide(one.transaction, "abort")
            raise Refused(51)
        one.epoch += 1
        return one.producer, one.epoch

    def add(self, name: str, identity: tuple[int, int], partition: TopicPartition) -> Transaction:
        """Add a partition to the open transaction, and return it. Refused(51) while the last one is ending."""
        one = self._checked(name, identity)
        if one.transaction is None:
            one.transaction = Transaction(name, *identity, self._now())
        elif one.transaction.decided:
            raise Refused(51)
        one.transaction.partitions[partition] = None
        return one.transaction

    def check(self, transaction: Transaction) -> None:
        """Raise unless the producer may still write to its transaction."""
        one = self._checked(transaction.name, (transaction.producer, transaction.epoch))
        if one.transaction is not transaction or transaction.decided:
            raise Refused(48)

    def end(self, name: str, identity: tuple[int, int], *, commit: bool) -> None:
        """Decide the transaction, and send the markers."""
        one = self._checked(name, identity)
        wanted: Literal["commit", "abort"] = "commit" if commit else "abort"
        if one.transaction is None:
            if one.last != wanted:
                raise Refused(48)
        elif not one.transaction.decided:
            self._decide(one.transaction, wanted)
        elif one.transaction.decided != wanted:
            raise Refused(48)

    def expire(self, older_than: int) -> list[str]:
        """Abort transactions that have been open for longer than this time, in ms."""
        ended: list[str] = []
        for name, one in self.known.items():
            open_ = one.transaction
            if open_ is not None and not open_.decided and self._now() - open_.began > older_than:
                one.epoch += 1
                self._decide(open_, "abort")
                ended.append(name)
        return ended

    def landed(self, marker: Marker) -> None:
        """Record that a marker has reached its partition."""
        transaction = marker.transaction
        del transaction.unmarked[marker.partition]
        if not transaction.unmarked:
            one = self.known[transaction.name]
            one.last, one.transaction = transaction.decided, None

    def open(self) -> list[Transaction]:
        """Return all transactions that have not ended."""
        return [one.transaction for one in self.known.values() if one.transaction is not None]

    def _checked(self, name: str, identity: tuple[int, int]) -> Transactional:
        one = self.known.get(name)
        if one is None or identity != (one.producer, one.epoch):
            raise Fenced
        return one

    def _decide(self, transaction: Transaction, how: Literal["commit", "abort"]) -> None:
        transaction.decided = how
        transaction.unmarked = dict(transaction.partitions)
        for partition in transaction.partitions:
            self._send(Marker(transaction, partition))
