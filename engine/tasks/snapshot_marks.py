"""The snapshots that committed offsets name, where stores have no changelogs.

`d=` in the metadata of an offset has the task, its number of partitions, the number of the snapshot's manifest, and the
commit that the snapshot was taken for. Input offsets alone would not do: a commit of nothing but timers leaves them as
they were. A commit of a task that has changed no state names the snapshot of the commit before; "" is the commit of a
task that has no state yet. Of several inputs, the one with the highest number was committed last. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...operators.errors import ConfigError, TopologyError
from ...operators.graph.topology import Topology
from ..plan.plan import Plan, SubTopology
from .topic_ids import fields

__all__ = ["SnapshotMark", "check_group", "committed_mark", "mark_in", "refuse_memory_stores"]

WAY_OUT = (
    "State cannot be carried over from one to the other. Go on with the former setting; or, to process the inputs "
    "again with the new one, stop all instances and run `tidemill reset`"
)


class SnapshotMark(NamedTuple):
    """The snapshot with the state of a task at its committed offsets."""

    task: str
    partitions: int
    """How many tasks its sub-topology had."""
    number: int = 0
    """Of the manifest; 0 for a task without state."""
    commit: str = ""

    @property
    def metadata(self) -> str:
        """The part of an offset's metadata."""
        return f";d={self.task},{self.partitions},{self.number},{self.commit}"


def mark_in(metadata: str) -> SnapshotMark | None:
    """Return the mark in the metadata of an offset, None if there is none."""
    parts = fields(metadata).get("d", "").split(",")
    if len(parts) != len(SnapshotMark._fields):
        return None
    task, partitions, number, commit = parts
    return SnapshotMark(task, int(partitions), int(number), commit)


def committed_mark(
    task: str, subtopology: SubTopology, committed: Mapping[tuple[str, int], str], *, changelogs: bool
) -> SnapshotMark:
    """Return the mark of a task by the metadata of its committed offsets.

    Raises ConfigError if the offsets were committed with the other durability, and TopologyError if the snapshot is
    of another task or another number of partitions.
    """
    newest = SnapshotMark(task, subtopology.partitions)
    if not subtopology.stores:
        return newest
    marks = {key: mark_in(metadata) for key, metadata in committed.items()}
    held = [mark for mark in marks.values() if mark is not None]
    if changelogs:
        if any(mark.commit for mark in held):
            raise ConfigError(
                f'task {task}: durability is "changelog", but the state at the committed offsets is in snapshots: the '
                f'application ran with durability "snapshot". {WAY_OUT}'
            )
        return newest
    if marks and not held:
        topic, partition = min(marks)
        raise ConfigError(
            f'task {task}: durability is "snapshot", but the committed offset of topic {topic!r}, partition '
            f'{partition} names no snapshot: the application ran with durability "changelog", or another tool has set '
            f"the offset. {WAY_OUT}"
        )
    others = [mark.task for mark in held if mark.commit and mark.task != task]
    if others:
        raise TopologyError(
            f"task {task}: state of its inputs is in a snapshot of task {others[0]}. Steps were added, removed or "
            'reordered so that the sub-topologies have other numbers, and with durability "snapshot" state stays with '
            "the number. Restore the order of the program; or, to process the inputs again, stop all instances and run "
            "`tidemill reset`"
        )
    newest = max(held, key=lambda mark: mark.number, default=newest)
    if newest.commit and newest.partitions != subtopology.partitions:
        raise TopologyError(
            f"task {task}: its inputs have {subtopology.partitions} partitions now, but the state was built with "
            f"{newest.partitions} (as the committed offsets say): with the new number, records would meet the state of "
            "other keys. To process the inputs again with the new number, stop all instances and run `tidemill reset`"
        )
    return newest._replace(task=task, partitions=subtopology.partitions)


def check_group(plan: Plan, committed: Mapping[tuple[str, int], str]) -> None:
    """Check before the start, by their metadata, that the group's offsets fit the program.

    Raises ConfigError or TopologyError, as `committed_mark` does.
    """
    for task in plan.tasks():
        subtopology = plan.subtopology(task)
        found = {key: committed[key] for key in subtopology.task_inputs(task.partition) if key in committed}
        committed_mark(str(task), subtopology, found, changelogs=plan.changelogs)


def refuse_memory_stores(topology: Topology) -> None:
    """Raise TopologyError for stores in memory, which are not part of snapshots."""
    found = sorted(_memory_stores(topology))
    if found:
        raise TopologyError(
            f'durability is "snapshot", and stores in memory are not part of snapshots: remove .in_memory() from '
            f'{", ".join(map(repr, found))}, or use durability "changelog"'
        )


def _memory_stores(topology: Topology) -> Iterable[str]:
    tables = {node.id for node in topology.global_tables}
    for node in topology.nodes:
        if node.id not in tables and any(state.spec.kind == "memory" for state in node.stores):
            yield node.name
