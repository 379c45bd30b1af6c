"""What a group must not forget, as bytes, and how tasks and their figures are written.

Encoded once by the leader, given to a few members and brought back by them as it went: see `Catalogue` in
`user_data.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import msgspec

from ...assignment.assignment import Memory
from ...ids import TaskId
from ...kafka.encoding import Broken

__all__ = [
    "Figures",
    "Numbers",
    "Shared",
    "figures",
    "figures_of",
    "memory_of",
    "numbered",
    "packed",
    "read_shared",
    "tasks_of",
    "unpacked",
    "written_shared",
]

Numbers = dict[int, list[int]]
"""Partition numbers by sub-topology."""
Figures = dict[int, dict[int, int]]
"""A figure by partition number by sub-topology."""


class Shared(msgspec.Struct, frozen=True, omit_defaults=True):
    """The group's memory: `owners` has a list a sub-topology, an entry a partition.

    An entry is -1 for nobody, a process's number, or the owner's number (or -1) and those of former owners.
    """

    generation: int
    processes: list[str]
    names: list[str]
    running: list[str]
    owners: list[list[int | list[int]]]
    weights: Figures = {}
    sizes: Figures = {}


def packed(value: msgspec.Struct) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(value), 6)


def unpacked(data: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=kind)
    except (zlib.error, msgspec.MsgspecError) as failure:
        raise Broken(f"user data of a group member cannot be read: {failure}") from failure


def read_shared(data: bytes) -> Shared:
    if not data:
        return Shared(-1, [], [], [], [])
    shared = unpacked(data, Shared)
    assert isinstance(shared, Shared)
    return shared


def memory_of(shared: Shared, numbers: Mapping[str, int]) -> Memory:
    """The group's memory in somebody's numbers; sub-topologies that have none are left out."""
    owners: dict[TaskId, tuple[str, ...]] = {}
    for name, entries in zip(shared.names, shared.owners, strict=True):
        part = numbers.get(name)
        if part is None:
            continue
        for partition, entry in enumerate(entries):
            chain = [entry] if isinstance(entry, int) else entry
            owners[TaskId(part, partition)] = tuple("" if n < 0 else shared.processes[n] for n in chain)
    running = {
        numbers[name]: text for name, text in zip(shared.names, shared.running, strict=True) if text and name in numbers
    }
    order = [numbers.get(name, -1) for name in shared.names]
    return Memory(
        shared.generation, owners, running, figures_of(shared.weights, order), figures_of(shared.sizes, order)
    )


def written_shared(memory: Memory, names: list[str]) -> bytes:
    """The memory in bytes; `names` are those of the sub-topologies by their numbers."""
    parts = sorted(memory.running.keys() | {task.subtopology for task in memory.owners})
    order = {part: index for index, part in enumerate(parts)}
    processes = sorted({p for chain in memory.owners.values() for p in chain if p})
    index = {process: number for number, process in enumerate(processes)}
    owners: list[list[int | list[int]]] = [[] for _ in parts]
    for task in sorted(memory.owners):
        row = owners[order[task.subtopology]]
        row.extend([-1] * (task.partition - len(row)))
        chain = [index.get(p, -1) for p in memory.owners[task]]
        row.append(chain[0] if len(chain) == 1 else chain)
    running = [memory.running.get(part, "") for part in parts]
    known = [names[part] for part in parts]
    weights, sizes = figures(memory.weights, order), figures(memory.sizes, order)
    return packed(Shared(memory.generation, processes, known, running, owners, weights, sizes))


def numbered(tasks: Iterable[TaskId], order: Mapping[int, int] | None = None) -> Numbers:
    """Tasks by sub-topology, in somebody else's numbers if `order` is given."""
    numbers: Numbers = {}
    for part, partition in sorted(tasks):
        numbers.setdefault(part if order is None else order[part], []).append(partition)
    return numbers


def figures(values: Mapping[TaskId, int], order: Mapping[int, int]) -> Figures:
    found: Figures = {}
    for (part, partition), value in sorted(values.items()):
        if part in order:
            found.setdefault(order[part], {})[partition] = value
    return found


def tasks_of(numbers: Numbers, order: list[int]) -> frozenset[TaskId]:
    return frozenset(TaskId(order[part], p) for part, list_ in numbers.items() if order[part] >= 0 for p in list_)


def figures_of(values: Figures, order: list[int]) -> dict[TaskId, int]:
    return {
        TaskId(order[part], p): value for part, row in values.items() if order[part] >= 0 for p, value in row.items()
    }
