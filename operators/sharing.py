"""Which steps get values of their own: those with a function of the user's, of what somebody else has as well.

A value is shared when several steps read it, when the step that sends it keeps it, or when that step hands on what it
got and this is shared. What a function does to a copy reaches only what is downstream of it. A straight line of steps
copies nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from .topology import Input, Node

__all__ = ["private_inputs"]

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
