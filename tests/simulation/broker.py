"""An in-memory Kafka: topics, transactions, one group, and the network between it and the processes.

A request takes effect at once when it arrives. `Network` determines which requests and responses are slow or lost, by
the random generator of the schedule. Transaction markers are delayed as well, so a commit may have returned before all
partitions have its marker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.state.topic_partition import TopicPartition

from .group import Group
from .log import GROUP, Entry, Marker, Partition, Refused, Transaction, Transactions
from .world import World

__all__ = ["Broker", "Network", "Unreachable"]


class Unreachable(Exception):
    """A request or its response was lost; the client cannot know whether it took effect."""


@dataclass
class Network:
    """The faults of the network: probabilities from 0 to 1, and times in ms."""

    lose_request: float = 0.0
    lose_answer: float = 0.0
    late_request: float = 0.0
    """The probability that a request arrives after its sender has given up."""
    slow: float = 0.0
    """The probability of a delay of up to `longest`."""
    longest: int = 300
    late_marker: float = 0.0
    """The probability that a marker is late, by up to `marker_longest`."""
    marker_longest: int = 500
    room: int = 100_000
    """The capacity of a producer's queue, in records."""
    whole: float = 0.0
    """The probability that a consumer gets all available records of a partition, as from a backlog."""
    down: bool = False
    """Whether all requests fail: a complete outage."""
    away: int = 0
    """The error code of coordinators while they move to another broker; 0 otherwise."""

    def healed(self) -> Network:
        return Network(late_marker=self.late_marker, marker_longest=self.marker_longest, whole=self.whole)


class Broker:
    """The cluster: one broker that is leader and coordinator of everything."""

    def __init__(self, world: World, network: Network) -> None:
        self._world = world
        self.network = network
        self.topics: dict[str, list[Partition]] = {}
        self.topic_ids: dict[str, str] = {}
        self._created = 0
        self.transactions = Transactions(lambda: world.now, self._send_marker)
        self.group = Group(lambda: world.now, world.later)
        self.cut_off: set[str] = set()
        """Processes whose packets are dropped."""
        self.dropped: list[Callable[[], None]] = []
        """Callbacks that break the connections on which packets were dropped."""
        self.deletions_kept = 24 * 60 * 60 * 1000
        """The `delete.retention.ms` of all topics."""
        self.refuses: Callable[[str, bytes | None, bytes | None], bool] = lambda _topic, _key, _value: False
        """Returns whether a record, by topic, key and value, is refused as invalid."""
        self.holds: Callable[[Marker], bool] = lambda _marker: False
        """Returns whether a marker is held back until a test delivers it with `land`."""
        self.held: list[Marker] = []
        self.before_delete: Callable[[], None] = lambda: None
        """Called before records are deleted, so that checkers can read them."""

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic, replacing one with the same name. Its committed offsets stay."""
        self.topics[topic] = [Partition() for _ in range(partitions)]
        self._created += 1
        self.topic_ids[topic] = f"id-{self._created}"

    def drop_offsets(self, topic: str) -> None:
        """Drop the committed offsets of a topic, as Kafka does when the topic is deleted."""
        for key in [key for key in self.group.offsets if key[0] == topic]:
            del self.group.offsets[key]

    def partition(self, key: TopicPartition) -> Partition:
        return self.topics[key[0]][key[1]]

    # Transactions

    def produce(self, transaction: Transaction | None, key: TopicPartition, rows: Iterable[Sequence[Any]]) -> int:
        """Append rows of (key, value, timestamp, headers), and return the offset of the first."""
        if transaction is not None:
            self.transactions.check(transaction)
        log = self.partition(key)
        first = log.end
        for row in rows:
            offset = log.append(row[0], row[1], row[2], row[3], transaction)
            if row[1] is None:
                log.deleted[offset] = self._world.now
        return first

    def commit_in(
        self,
        name: str,
        identity: tuple[int, int],
        member: tuple[int, str],
        offsets: dict[TopicPartition, tuple[int, str]],
    ) -> int:
        """AddOffsetsToTxn and TxnOffsetCommit: offsets into a transaction, by (generation, member)."""
        transaction = self.transactions.add(name, identity, GROUP)
        return self.group.commit_in(transaction, *member, offsets)

    def _send_marker(self, marker: Marker) -> None:
        if self.holds(marker):
            self.held.append(marker)
            return
        network, chance = self.network, self._world.random
        late = chance.random() < network.late_marker
        self._world.later(chance.randint(1, network.marker_longest) if late else 0, lambda: self.land(marker))

    def land(self, marker: Marker) -> None:
        """Deliver a marker to its partition."""
        transaction = marker.transaction
        if marker.partition == GROUP:
            self.group.landed(transaction)
        else:
            log = self.partition(marker.partition)
            log.append(None, None, 0, None, transaction, marker=True)
            log.unstable.pop(transaction, None)
        self.transactions.landed(marker)
        self._world.note("marker", transaction.name, transaction.decided, marker.partition)

    # For checkers

    def committed(self, key: TopicPartition, upto: int | None = None) -> list[Entry]:
        """Return the committed records up to the last stable offset, or those below `upto` even without markers."""
        log = self.partition(key)
        end = log.stable if upto is None else upto
        return list(log.read(log.begin, end, committed=True))

    # The network

    def delay(self) -> int:
        """Return a random delay."""
        chance = self._world.random
        roll = chance.random()
        if roll < self.network.slow:
            return chance.randint(1, self.network.longest)
        return 0 if roll < 0.7 else 1

    def reachable(self, process: str) -> bool:
        return not self.network.down and process not in self.cut_off

    def reconnect(self) -> None:
        """Deliver packets again, and break the connections that waited for dropped ones."""
        dropped, self.dropped = self.dropped, []
        for broken in dropped:
            self._world.later(self.delay(), broken)

    def call(self, process: str, what: str, effect: Callable[[], Any]) -> Any:
        """Send a request of a fiber, and return its response. Raises Unreachable, or Refused if the effect does."""
        world, network = self._world, self.network
        world.pause(f"{what} ->")
        roll = world.random.random()
        if not self.reachable(process) or roll < network.lose_request:
            world.wait(None, world.random.randint(1, 100))
            raise Unreachable(f"{what}: no response")
        roll -= network.lose_request
        if roll < network.late_request:
            world.later(world.random.randint(1, network.longest), lambda: self._late(what, effect))
            world.wait(None, world.random.randint(0, network.longest // 2))
            raise Unreachable(f"{what}: no response in time")
        roll -= network.late_request
        answer = effect()
        world.pause(f"{what} <-")
        if not self.reachable(process) or roll < network.lose_answer:
            raise Unreachable(f"{what}: the response was lost")
        return answer

    def _late(self, what: str, effect: Callable[[], Any]) -> None:
        try:
            effect()
            self._world.note("late", what)
        except Refused as refused:
            self._world.note("late", what, refused.code)
