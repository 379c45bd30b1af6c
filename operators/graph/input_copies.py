"""Input copies: which steps get copies, because a function may change a shared value.

A value is shared if several steps read it, if the step that sends it stores it, or if that step passes on a shared
value. What a function changes in a copy is seen only downstream of it. A linear chain of steps copies nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import RecordError
from ..record import Record
from ..serdes.value_copies import fresh
from .topology import Input, Node

__all__ = ["copying", "private_inputs"]


def private_inputs(nodes: Sequence[Node]) -> dict[int, tuple[bool, ...]]:
    """Return, by node id, which active inputs are copied; the nodes are in topological order."""
    readers = Counter(edge for node in nodes for edge in node.active)
    sharing: set[int] = set()  # nodes whose results may be shared
    found: dict[int, tuple[bool, ...]] = {}

    def shared(edge: Input) -> bool:
        return readers[edge] > 1 or edge.node in sharing

    for node in nodes:
        inputs = tuple(map(shared, node.active))
        if node.calls and any(inputs):
            found[node.id] = inputs
        if (node.stores and node.holds) or (not node.calls and any(inputs)):
            sharing.add(node.id)
    return found


def copying(node: Node, process: Callable[[list[Any], int], Any]) -> Callable[[list[Any], int], Any]:
    """Return the step's `process`, with copies of the values on the inputs that need them.

    A record with a value that cannot be copied fails, after the records before it are processed.
    """
    private, tagged = node.private, node.tagged
    if not any(private):
        return process

    def renewed(item: Any) -> Any:
        if tagged:
            slot, record = item
            return (slot, copy_of(record)) if private[slot] else item
        return copy_of(item)

    def copied(records: list[Any], now: int) -> Any:
        done: list[Any] = []
        try:
            for item in records:
                done.append(renewed(item))  # noqa: PERF401 - what was copied before a failure counts
        except Exception as error:
            record = records[len(done)][1] if tagged else records[len(done)]
            raise RecordError(node.name, len(done), record, process(done, now), doing="copy") from error
        return process(done, now)

    return copied


def copy_of(record: Record[Any, Any]) -> Record[Any, Any]:
    return Record(record.key, fresh(record.value), record.timestamp, record.headers, record.offset)
