"""The encoding of the group's shared state, and of tasks and values per task.

The leader encodes the shared state once, sends it to a few members, and gets it back from them unchanged: see
`SubTopologyNumbering` in `member_metadata.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import msgspec

from ...assignment.assignment import SharedState
from ...ids import TaskId
from ...kafka.encoding import ProtocolError

__all__ = [
    "EncodedSharedState",
    "Figures",
    "Numbers",
    "decode_shared_state",
    "encode_shared_state",
    "figures",
    "figures_of",
    "numbered",
    "packed",
    "shared_state_of",
    "tasks_of",
    "unpacked",
]

Numbers = dict[int, list[int]]
"""Partition numbers by sub-topology."""
Figures = dict[int, dict[int, int]]
"""A value by partition number, by sub-topology."""


class EncodedSharedState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The encoded shared state.

    `owners` has one list per sub-topology, with one entry per partition. An entry is -1 for no owner, the number of a
    process, or a list: the owner's number (or -1) and those of former owners.
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
        raise ProtocolError(f"the metadata of a group member cannot be decoded: {failure}") from failure


def decode_shared_state(data: bytes) -> EncodedSharedState:
    if not data:
        return EncodedSharedState(-1, [], [], [], [])
    shared = unpacked(data, EncodedSharedState)
    assert isinstance(shared, EncodedSharedState)
    return shared


def shared_state_of(shared: EncodedSharedState, numbers: Mapping[str, int]) -> SharedState:
    """Decode the shared state; `numbers` has the number of each sub-topology that is kept."""
    owners: dict[TaskId, tuple[str, ...]] = {}
    for name, entries in zip(shared.names, shared.owners, strict=True):
        subtopology = numbers.get(name)
        if subtopology is None:
            continue
        for partition, entry in enumerate(entries):
            chain = [entry] if isinstance(entry, int) else entry
            owners[TaskId(subtopology, partition)] = tuple("" if n < 0 else shared.processes[n] for n in chain)
    running = {
        numbers[name]: text for name, text in zip(shared.names, shared.running, strict=True) if text and name in numbers
    }
    order = [numbers.get(name, -1) for name in shared.names]
    return SharedState(
        shared.generation, owners, running, figures_of(shared.weights, order), figures_of(shared.sizes, order)
    )


def encode_shared_state(memory: SharedState, names: list[str]) -> bytes:
    """Encode the shared state; `names` has the names of the sub-topologies by number."""
    parts = sorted(memory.running.keys() | {task.subtopology for task in memory.owners})
    order = {subtopology: index for index, subtopology in enumerate(parts)}
    processes = sorted({p for chain in memory.owners.values() for p in chain if p})
    index = {process: number for number, process in enumerate(processes)}
    owners: list[list[int | list[int]]] = [[] for _ in parts]
    for task in sorted(memory.owners):
        row = owners[order[task.subtopology]]
        row.extend([-1] * (task.partition - len(row)))
        chain = [index.get(p, -1) for p in memory.owners[task]]
        row.append(chain[0] if len(chain) == 1 else chain)
    running = [memory.running.get(subtopology, "") for subtopology in parts]
    known = [names[subtopology] for subtopology in parts]
    weights, sizes = figures(memory.weights, order), figures(memory.sizes, order)
    return packed(EncodedSharedState(memory.generation, processes, known, running, owners, weights, sizes))


def numbered(tasks: Iterable[TaskId], order: Mapping[int, int] | None = None) -> Numbers:
    """Return partition numbers by sub-topology, renumbered by `order` if it is given."""
    numbers: Numbers = {}
    for subtopology, partition in sorted(tasks):
        numbers.setdefault(subtopology if order is None else order[subtopology], []).append(partition)
    return numbers


def figures(values: Mapping[TaskId, int], order: Mapping[int, int]) -> Figures:
    found: Figures = {}
    for (subtopology, partition), value in sorted(values.items()):
        if subtopology in order:
            found.setdefault(order[subtopology], {})[partition] = value
    return found


def tasks_of(numbers: Numbers, order: list[int]) -> frozenset[TaskId]:
    return frozenset(
        TaskId(order[subtopology], p)
        for subtopology, list_ in numbers.items()
        if order[subtopology] >= 0
        for p in list_
    )


def figures_of(values: Figures, order: list[int]) -> dict[TaskId, int]:
    return {
        TaskId(order[subtopology], p): value
        for subtopology, row in values.items()
        if order[subtopology] >= 0
        for p, value in row.items()
    }
