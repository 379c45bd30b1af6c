"""Alignment: how far apart in event time the tasks of a sub-topology may run.

Pure. The limit is the disorder that the steps downstream of its repartitions tolerate. `runtime/scheduler.py` keeps
tasks that write one repartition topic within it, so that what they write is not late.
"""

from __future__ import annotations

from ...operators.graph.topology import Node, Repartition, Topology

__all__ = ["alignment", "unaligned"]


def alignment(topology: Topology, nodes: tuple[Node, ...]) -> int | None:
    """Return the least disorder that any step downstream of these nodes' repartitions tolerates.

    A watermark allows for its bound once more downstream of each repartition, so tasks may be that much further apart.
    """
    bearable: list[int] = []
    for repartition in nodes:
        if not isinstance(repartition, Repartition):
            continue
        allowed = 0 if repartition.watermark is None else repartition.watermark.bound
        found: set[int] = set()
        pending = [repartition.id]
        while pending:
            for node in topology.consumers(pending.pop()):
                if node.id not in found:
                    found.add(node.id)
                    pending.append(node.id)
                    if node.disorder is not None:
                        bearable.append(node.disorder + allowed)
    return min(bearable, default=None)


def unaligned(topology: Topology) -> list[tuple[str, str]]:
    """Return steps without a watermark that drop late records, each with its repartition.

    They are downstream of the repartition: which records are late for them depends on how far tasks of different
    processes are apart.
    """
    found: list[tuple[str, str]] = []
    for repartition in topology.nodes:
        if isinstance(repartition, Repartition) and repartition.watermark is None:
            pending, seen = [repartition.id], {repartition.id}
            while pending:
                for node in topology.consumers(pending.pop()):
                    if node.id in seen or isinstance(node, Repartition):
                        continue
                    seen.add(node.id)
                    pending.append(node.id)
                    if node.disorder is not None:
                        found.append((node.name, repartition.name))
    return found
