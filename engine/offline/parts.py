"""The parts of a store that are read offline: one per task. Pure.

A directory or a snapshot store may have tasks of earlier versions of the program, in which the store belonged to
another sub-topology; a machine may have a task twice, in the directories of two workers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...operators.graph.topology import OperatorState, Source, Topology
from ...operators.suggest import did_you_mean
from ...state.store import Position, Store
from ..errors import ConfigError
from ..ids import TaskId
from ..plan.plan import partition

__all__ = ["GLOBAL", "DeclaredStore", "OpenPart", "check_on_disk", "declared_store", "furthest", "tasks_of"]

GLOBAL = "global"
"""In place of a task, for a global table."""


@dataclass(frozen=True)
class DeclaredStore:
    """A store as the program declares it."""

    state: OperatorState
    subtopology: int | None
    """The number of the sub-topology with its tasks; None for a global table."""

    @property
    def name(self) -> str:
        return self.state.spec.name

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and its former ones."""
        return (self.name, *self.state.spec.was)

    def stored_in(self, names: Collection[str]) -> str | None:
        """Return the name under which it is stored, present or former; None if it is not."""
        return next((name for name in self.names if name in names), None)


class OpenPart(NamedTuple):
    """The part of a store that one task has, open for reading."""

    task: str
    worker: str
    """The directory of the worker that had the task; "" for a snapshot."""
    store: Store
    name: str
    """The name under which the store is stored, which may be a former one."""


def declared_store(topology: Topology, name: str) -> DeclaredStore:
    """Return the declaration of a store. Raises ConfigError if none exists."""
    known = {state.spec.name: (node, state) for node in topology.nodes for state in node.stores}
    found = known.get(name)
    if found is None:
        raise ConfigError(f"the program has no store {name!r}{did_you_mean(name, known)}")
    node, state = found
    if isinstance(node, Source) and node.broadcast:
        return DeclaredStore(state, None)
    return DeclaredStore(state, next(part.id for part in partition(topology).subtopologies if node.id in part.nodes))


def check_on_disk(declared: DeclaredStore) -> None:
    """Raise ConfigError for a store in memory."""
    if declared.state.spec.kind != "rocksdb":
        raise ConfigError(
            f"the store {declared.name!r} is in memory only: there is nothing of it on disk. A savepoint has it: "
            "--from NAME"
        )


def tasks_of(declared: DeclaredStore, tasks: Iterable[str], where: str) -> list[str]:
    """Return the tasks that belong to a store, of all that have entries of it, in order.

    Raises ConfigError if these are the tasks of several sub-topologies, none of which is the program's.
    """
    by_subtopology: dict[int, list[TaskId]] = {}
    for task in set(tasks):
        task_id = TaskId.parse(task)
        by_subtopology.setdefault(task_id.subtopology, []).append(task_id)
    if len(by_subtopology) > 1 and declared.subtopology not in by_subtopology:
        numbers = " and ".join(map(str, sorted(by_subtopology)))
        raise ConfigError(
            f"{where} has the store {declared.name!r} in tasks of the sub-topologies {numbers}, while the program has "
            f"it in sub-topology {declared.subtopology}: they are of different versions of the program. Give the "
            "version that ran last, or the directory of one task with --from"
        )
    number = declared.subtopology if declared.subtopology in by_subtopology else next(iter(by_subtopology), 0)
    return [str(task) for task in sorted(by_subtopology.get(number, ()))]


def furthest(stores: Collection[str], copies: Mapping[str, Position]) -> str:
    """Return the name of the copy whose store is furthest; of equal ones the first by name."""

    def progress(name: str) -> tuple[int, int]:
        position = copies[name]
        return max(position.changelogs.get(store, -1) for store in stores), sum(position.inputs.values())

    return max(sorted(copies), key=progress)
