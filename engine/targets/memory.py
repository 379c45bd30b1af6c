"""What sinks write in tests of programs: it stays in memory, whatever their targets are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...operators.graph.target import Target
from ...operators.record import Record

__all__ = ["MemoryTargets"]


class MemoryTargets:
    """The records that sinks have written, by the name of the sink."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record[Any, Any]]] = {}

    def writer(self, target: Target, sink: str, topic: str, topic_id: str, partition: int) -> _MemoryWriter:
        """Return a writer that adds to the records of the sink."""
        return _MemoryWriter(self.records.setdefault(sink, []))

    def take(self, sink: str) -> list[Record[Any, Any]]:
        """Return the records written since the last call. Raises KeyError if there is no such sink."""
        records = [Record(one.key, one.value, one.timestamp, one.headers) for one in self.records[sink]]
        self.records[sink].clear()
        return records


class _MemoryWriter:
    staged = None
    failed = False

    def __init__(self, records: list[Record[Any, Any]]) -> None:
        self._records = records

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        self._records.extend(records)

    def outcome(self) -> Mapping[int, Exception] | None:
        return {}

    def close(self) -> None:
        return
