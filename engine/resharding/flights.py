"""Records in flight: which wait, and to which partitions of a repartition topic they go.

Watermarks in repartition topics are left out: they are of tasks as they were, and each task writes its own when it
starts. The records of a key stay in order, since they come from one partition.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from ...operators.graph.topology import Repartition
from ...state.topic_partition import TopicPartition
from ..errors import ConfigError
from ..kafka.partitioners import MURMUR2
from ..savepoints.record_files import RecordFiles, TopicRecord, read_records
from ..snapshots.savepoint import InFlight, Savepoint, file_path
from ..snapshots.storage import Storage
from ..watermarks.records import is_mark
from .parts import Part
from .rules import placed, rules_for

__all__ = ["FlightMover"]


class FlightMover:
    """The records in flight of a savepoint, and their new places."""

    def __init__(self, storage: Storage, savepoint: Savepoint, parts: Sequence[Part], scratch: Path) -> None:
        self._storage = storage
        self._savepoint = savepoint
        self._readers = {topic: part for part in parts for topic, _ in part.now.inputs}
        self._scratch = scratch

    def waiting(self) -> dict[TopicPartition, int]:
        """Return the numbers of records, without watermarks.

        Raises ConfigError for a record that is in a partition of its own, StorageError.
        """
        return {
            (flight.topic, flight.partition): sum(1 for _ in self._placed(flight))
            for flight in self._savepoint.in_flight
        }

    def moved(self, attempt: str) -> list[InFlight]:
        """Write the records to files of the attempt, by their new partitions. Raises StorageError."""
        topics: dict[str, list[InFlight]] = {}
        for flight in self._savepoint.in_flight:
            if flight.topic in self._readers:
                topics.setdefault(flight.topic, []).append(flight)
        return [one for topic, flights in sorted(topics.items()) for one in self._topic(attempt, topic, flights)]

    def _topic(self, attempt: str, topic: str, flights: Sequence[InFlight]) -> list[InFlight]:
        files: dict[int, RecordFiles] = {}
        sources = [self._placed(flight) for flight in flights]
        for _, record, number in heapq.merge(*sources, key=itemgetter(0)):
            if number not in files:
                place = file_path(attempt, f"{topic}-{number}")
                application, scratch = self._savepoint.application, self._scratch / "upload"
                files[number] = RecordFiles(self._storage, application, place, scratch, lambda size: None)
            files[number].append(record)
        found: list[InFlight] = []
        for number, mine in sorted(files.items()):
            made = mine.finish()
            found.append(InFlight(topic, number, 0, sum(file.records for file in made), made))
        return found

    def _placed(self, flight: InFlight) -> Iterator[tuple[int, TopicRecord, int]]:
        """Yield the time, the record and the new partition of each record."""
        part = self._readers.get(flight.topic)
        if part is None:
            return
        node = dict(part.now.inputs)[flight.topic]
        suffix = getattr(node.key, "suffix", 0) if isinstance(node, Repartition) else 0
        scratch = self._scratch / f"{flight.topic}-{flight.partition}"
        application = self._savepoint.application
        for record in read_records(self._storage, application, flight.files, TopicRecord, scratch):
            if not is_mark(record.key, record.value, record.headers):
                yield record.timestamp, record, self._place(flight, record.key, suffix, part)

    @staticmethod
    def _place(flight: InFlight, key: bytes | None, suffix: int, part: Part) -> int:
        if not part.moves or flight.topic in part.referring:
            return flight.partition
        if key is None:
            return flight.partition % part.new
        for rule in sorted(rules_for(suffix, (MURMUR2,))):
            if placed(rule, key, suffix, part.old) == flight.partition:
                return placed(rule, key, suffix, part.new)
        raise ConfigError(
            f"a record that waits in partition {flight.partition} of the repartition topic {flight.topic!r} has the "
            f"key {key!r}, by which it would be in another one, so its new place is not known: start the application "
            "until it is processed (`tidemill status` shows no lag), and stop it again"
        )
