"""The topic of a global table: rows are added and deleted, some in transactions of another producer that stay open.

At the end, each process must have the rows that a read_committed consumer of the topic sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import tidemill as tm
from tidemill.engine.restore.global_tables import GlobalTables

from .broker import Broker
from .log import Entry, Refused
from .world import EPOCH, World

__all__ = ["STRANGER", "Rates"]

TOPIC = "rates"
STRANGER = "stranger"
"""The transactional id of a producer outside of the application."""


class Rates:
    """Writes the rows, as another application would. Each row is a unique number."""

    def __init__(self, world: World, broker: Broker, partitions: int) -> None:
        self._world = world
        self._broker = broker
        self._partitions = partitions
        self._number = 0
        self.history: dict[int, list[Entry]] = {number: [] for number in range(partitions)}
        """Committed rows, including those that compaction has removed."""
        broker.create(TOPIC, partitions)

    def change(self, keys: int) -> None:
        """Write or delete a row."""
        chance, broker = self._world.random, self._broker
        key = f"k{chance.randrange(keys)}"
        self._number += 1
        value = None if chance.random() < 0.4 else tm.int64.encode(self._number)
        place, transaction = (TOPIC, sum(key.encode()) % self._partitions), None
        if chance.random() < 0.2:
            try:
                identity = broker.transactions.init(STRANGER)
            except Refused:  # ends the previous transaction, which is open
                return
            transaction = broker.transactions.add(STRANGER, identity, place)
            if chance.random() < 0.7:
                self._world.later(chance.randint(1, 400), lambda: self._end(identity))
        broker.produce(transaction, place, [(key.encode(), value, EPOCH + self._world.now, None)])

    def _end(self, identity: tuple[int, int]) -> None:
        try:
            self._broker.transactions.end(STRANGER, identity, commit=self._world.random.random() < 0.6)
        except Refused:
            self._world.note("the stranger was too late")

    def compact(self) -> None:
        """Compact a partition, which removes expired tombstones."""
        self.remember()
        log = self._world.random.choice(self._broker.topics[TOPIC])
        log.compact(self._world.random.randint(0, max(0, log.end - 1)), self._world.now - self._broker.deletions_kept)

    def remember(self) -> None:
        """Remember the committed rows of the topic."""
        for number, seen in self.history.items():
            log = self._broker.partition((TOPIC, number))
            after = seen[-1].offset if seen else -1
            seen.extend(log.read(max(after + 1, log.begin), log.stable, committed=True))

    def rows(self) -> dict[str, int]:
        """Return the rows according to the topic."""
        self.remember()
        found: dict[str, int] = {}
        for key, value in self._values():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found

    def _values(self) -> Iterator[tuple[str, int | None]]:
        for seen in self.history.values():
            for entry in seen:
                yield (
                    tm.utf8.decode(entry.key or b""),
                    None if entry.value is None else tm.int64.decode(entry.value),
                )

    def wrong(self, tables: Iterable[GlobalTables]) -> list[str]:
        """Return the differences between the tables of processes and the topic."""
        said = self.rows()
        held = [{key: entry[1] for key, entry in table.rows[TOPIC].scan(b"", None)} for table in tables if table.rows]
        return [f"a process has the table {rows}, the topic says {said}" for rows in held if rows != said]

    def written(self) -> set[tuple[str, int | None]]:
        """Return all rows that ever existed, and None for a missing row."""
        return {*self._values(), *((key, None) for key, _ in self._values())}
