"""How far apart by event time the tasks of a sub-topology may run: what the steps behind its repartitions bear.

Pure. Tasks that write one repartition topic are kept side by side (`runtime/scheduler.py`), so that what they write is
not late.
"""

from __future__ import annotations

from ...operators.graph.topology import Node, Repartition, Topology

__all__ = ["alignment", "unaligned"]


def alignment(topology: Topology, nodes: tuple[Node, ...]) -> int | None:
    """The least disorder that any step behind a repartition of these nodes bears.

    A watermark allows for its bound once more behind each repartition, so tasks may be that much further apart.
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
    """Steps that drop what is late, behind a repartition and without a watermark, each with the repartition.

    What comes late to them depends on how far tasks of different processes are apart.
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
