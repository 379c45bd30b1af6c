"""Topics in memory, for tests of programs without a broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from ...operators.record import Batch, Headers, Row
from ...operators.serdes.base import Serde
from ..kafka.murmur2 import murmur2_partition
from ..watermarks.records import is_mark

__all__ = ["KAFKAS_LIMIT", "MemoryTopics", "attributed", "decoded", "encoded"]

KAFKAS_LIMIT: Final = 1_048_588
"""The size in bytes above which Kafka rejects a record by default."""


class MemoryTopics:
    """In-memory topics by name. Records that Kafka would reject are rejected."""

    def __init__(self, widths: Mapping[str, int], others: int | None, max_message_bytes: int) -> None:
        """Take the partition counts of known topics (`widths`) and of all `others`, None if unknown."""
        self._widths = widths
        self._others = others
        self._max_message_bytes = max_message_bytes
        self._ends: dict[tuple[str, int], int] = {}
        self.written: dict[str, list[Row]] = {}

    def write(self, topic: str, rows: Sequence[Row]) -> None:
        """Append records to a topic, for `read`."""
        self.written.setdefault(topic, []).extend(rows)

    def read(self, topic: str) -> list[Row]:
        """Return the records written to a topic since the last call, without marks."""
        return [row for row in self.written.pop(topic, []) if not is_mark(row[0], row[1], row[3])]

    def batches(self, topic: str, rows: list[Row]) -> Iterator[Batch]:
        """Append records to a topic that the program reads, and yield one batch per partition."""
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault(self._partition(topic, row), []).append(row)
        for number, group in groups.items():
            key = (topic, number)
            begin = self._ends.get(key, 0)
            self._ends[key] = begin + len(group)
            headers: list[Headers] | None = None
            if any(row[3] for row in group):
                headers = [tuple(row[3]) if row[3] else () for row in group]
            yield Batch(
                topic,
                number,
                [row[0] for row in group],
                [row[1] for row in group],
                [row[2] for row in group],
                list(range(begin, begin + len(group))),
                headers,
                sum(len(row[0] or b"") + len(row[1] or b"") for row in group),
            )

    def refusal(self, topic: str, row: Row) -> str | None:
        """Return why Kafka would reject a record; None if it would accept it."""
        size = len(row[0] or b"") + len(row[1] or b"")
        if size > self._max_message_bytes:
            return (
                f"a record of {size:,} bytes for topic {topic!r} is larger than the topic accepts "
                f"(max.message.bytes, here {self._max_message_bytes:,})"
            )
        width = self._widths.get(topic, self._others)
        if width is not None and isinstance(row[4], int) and row[4] >= width:
            return f"topic {topic!r} has {width} partitions: there is no partition {row[4]}"
        return None

    def _partition(self, topic: str, row: Row) -> int:
        key, at, width = row[0], row[4], self._widths[topic]
        if isinstance(at, bytes):
            return murmur2_partition(at, width)
        if at >= 0:
            if at >= width:
                raise IndexError(f"topic {topic!r} has {width} partitions: there is no partition {at}")
            return at
        return 0 if key is None else murmur2_partition(key, width)


def encoded(topic: str, what: str, item: Any, serde: Serde[Any] | None) -> bytes | None:
    """Return the bytes of a key or value; TypeError when its serde cannot write it."""
    if item is None or serde is None:
        return None
    try:
        return serde.encode(item)
    except Exception as error:
        raise TypeError(f"topic {topic!r}: the {what} {item!r} is not one for its serde, {serde!r}: {error}") from error


def decoded(serde: Any, raw: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> Any:
    """Return a key or value as a source with this serde reads it."""
    if headers and hasattr(serde, "decode_with_headers"):
        return serde.decode_with_headers([raw], [tuple(headers)])[0]
    return None if raw is None else serde.decode(raw)


def attributed(
    serde: Serde[Any] | None, value: Any, raw: bytes | None, headers: list[tuple[str, bytes | None]]
) -> list[tuple[str, bytes | None]]:
    """Return headers with those that a serde writes for a key or value, encoded as `raw`."""
    if getattr(serde, "header", None) is not None:
        headers = cast("Any", serde).with_id([headers], [raw])[0] or []
    add = getattr(serde, "with_attributes", None)
    return headers if add is None else add([headers], [value])[0] or []
