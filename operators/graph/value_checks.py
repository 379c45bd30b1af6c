"""Value checks: each value to be stored is encoded while its record is known.

A store is written at the commit, when it is too late to identify the record of a value. Values that user functions
returned are encoded with the serde of the store. Values that a serde has decoded, or that were checked with the same
serde before, need no check: `inputs_to_try` follows them through the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import RecordError
from ..record import Record, Update
from ..serdes.base import Serde, is_closed
from ..serdes.value_copies import Keeper
from .topology import Input, Node, Repartition, Source

__all__ = ["inputs_to_try", "trying"]

Process = Callable[[list[Any], int], Any]


def inputs_to_try(nodes: Sequence[Node]) -> dict[int, tuple[Serde[Any] | None, ...]]:
    """Return `Node.tries` by node id, if there is anything to check; nodes in topological order."""
    written: dict[int, Serde[Any] | None] = {}  # a serde that is known to encode the results of a node
    found: dict[int, tuple[Serde[Any] | None, ...]] = {}

    def known(edge: Input) -> Serde[Any] | None:
        return written.get(edge.node)

    for node in nodes:
        if isinstance(node, (Source, Repartition)):
            stored = getattr(node.value, "local", node.value)  # of a serde with another form in topics
            written[node.id] = stored if stored is not None and is_closed(stored) else None
        elif node.gives is not None:
            written[node.id] = node.gives
        elif node.passes_on:
            first = node.keeps[0] if node.keeps else known(node.inputs[0])
            written[node.id] = first if node.keeps or all(known(edge) is first for edge in node.inputs) else None
        tries = tuple(
            None if serde is None or known(edge) is serde else serde
            for edge, serde in zip(node.inputs, node.keeps, strict=False)
        )
        if any(serde is not None for serde in tries) or node.keeps_keys is not None:
            found[node.id] = tries
    return found


def trying(node: Node, process: Process) -> Process:
    """Return the step's `process`, which fails at the first record that cannot be stored."""
    keepers = [None if serde is None else Keeper(serde) for serde in node.tries]
    keys = None if node.keeps_keys is None else Keeper(node.keeps_keys)
    if keys is None and not any(keepers):
        return process
    tagged = node.tagged

    def tried(records: list[Any], now: int) -> Any:
        for place, item in enumerate(records):
            slot, record = item if tagged else (0, item)
            values = keepers[slot]
            if keys is None and (values is None or record.value.__class__ in values.known):
                continue
            try:
                check(record, keys, values)
            except Exception as error:
                raise RecordError(node.name, place, record, process(records[:place], now), doing="keep") from error
        return process(records, now)

    return tried


def check(record: Record[Any, Any], keys: Keeper | None, values: Keeper | None) -> None:
    """Raise the error of a record with a key or a value that cannot be stored."""
    if keys is not None:
        keys.check(record.key)
    if values is not None:
        value = record.value
        for one in (value.old, value.new) if value.__class__ is Update else (value,):
            values.check(one)
