"""Which steps get values of their own: those with a function of the user's, of what somebody else has as well.

A value is shared when several steps read it, when the step that sends it keeps it, or when that step hands on what it
got and this is shared. What a function does to a copy reaches only what is downstream of it. A straight line of steps
copies nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import RecordError
from ..record import Record
from ..serdes.value_copies import fresh
from .topology import Input, Node

__all__ = ["copying", "private_inputs"]

QUIET: Final = frozenset({"count", "merge", "suppress", "table", "to_stream"})
"""Kinds of steps that call no function of the user's with a value."""
FOLDS: Final = frozenset({"aggregate", "count", "reduce"})
"""Kinds of steps whose store has no value in it that is sent, unless they say so."""


def private_inputs(nodes: Sequence[Node]) -> dict[int, tuple[bool, ...]]:
    """For the nodes that get copies, by id: of which of their inputs. The nodes are in topological order."""
    readers = Counter(edge for node in nodes for edge in node.inputs)
    handing_on: set[int] = set()  # nodes whose results others may have
    found: dict[int, tuple[bool, ...]] = {}

    def shared(edge: Input) -> bool:
        return readers[edge] > 1 or edge.node in handing_on

    for node in nodes:
        inputs = tuple(map(shared, node.inputs))
        calls = node.calls and node.kind not in QUIET
        if calls and any(inputs):
            found[node.id] = inputs
        holds = node.holds or (bool(node.stores) and node.kind not in FOLDS)
        if holds or (not calls and any(inputs)):
            handing_on.add(node.id)
    return found


def copying(node: Node, process: Callable[[list[Any], int], Any]) -> Callable[[list[Any], int], Any]:
    """A step's `process`, given records with values that nobody else has where it needs them. A record with a value
    that cannot be copied is refused, after those before it."""
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
