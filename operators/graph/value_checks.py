"""What a step is about to keep is tried while its record is known: a store is written at the commit, when it is too
late to say whose value it was.

Values that users' functions made are tried, by the serde of the store. Those that a serde has read, and those that were
tried before with the same one, need no trial: `inputs_to_try` follows them through the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import RecordError
from ..record import Record, Update
from ..serdes.base import Serde, is_closed
from ..serdes.value_copies import Keeper
from .topology import Input, Node, Repartition, Source

__all__ = ["inputs_to_try", "trying"]

Process = Callable[[list[Any], int], Any]

HANDING_ON: Final = frozenset(
    {"deduplicate", "filter", "merge", "peek", "split", "suppress", "table", "to_stream", "with_key"}
)
"""Kinds of steps that send the values that they got."""


def inputs_to_try(nodes: Sequence[Node]) -> dict[int, tuple[Serde[Any] | None, ...]]:
    """`Node.tries` by node id, where there is anything to try. The nodes are in topological order."""
    written: dict[int, Serde[Any] | None] = {}  # what is known to write the results of a node
    found: dict[int, tuple[Serde[Any] | None, ...]] = {}

    def known(edge: Input) -> Serde[Any] | None:
        return written.get(edge.node)

    for node in nodes:
        if isinstance(node, (Source, Repartition)):
            written[node.id] = node.value if node.value is not None and is_closed(node.value) else None
        elif node.gives is not None:
            written[node.id] = node.gives
        elif node.kind in HANDING_ON:
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
    """A step's `process`, which refuses the first record whose value could not be kept, after those before it."""
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
    """Raises an error for a record with a key or a value that could not be kept."""
    if keys is not None:
        keys.check(record.key)
    if values is not None:
        value = record.value
        for one in (value.old, value.new) if value.__class__ is Update else (value,):
            values.check(one)
