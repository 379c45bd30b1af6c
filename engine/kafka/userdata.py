"""What members tell the leader and the leader tells them, as bytes inside the consumer protocol.

The envelope is Kafka's own (subscription and assignment version 0), so that its tools show who reads what. Inside,
sub-topologies go by name, since two versions of a program may number them differently: `Catalogue` translates between
each member's numbers and those of one assignment. What the whole group must remember is encoded once, travels to every
member and comes back as it went (`shared`). Fields that a reader does not know are skipped, those it misses have
defaults: versions of Tidemill can differ within a group.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from ..assignment import Member, Memory, Plan, Version
from ..errors import Fatal
from ..ids import TaskId
from .encoding import Broken, Reader, Writer

__all__ = ["Catalogue", "Part", "Received", "Report", "Seat", "Shared", "decode_plan", "subscription"]

FORMAT = 1

Numbers = dict[int, list[int]]
"""Partition numbers by sub-topology."""
Figures = dict[int, dict[int, int]]
"""A figure by partition number by sub-topology."""


@dataclass(frozen=True)
class Part:
    """A sub-topology as this member runs it; `id` is the one in its own TaskIds, `name` the same in all versions."""

    id: int
    name: str
    hash: str
    topics: Mapping[str, int]
    """Topics that its tasks read, with their partition counts."""
    stateful: bool = True
    near: Mapping[int, frozenset[str]] = field(default_factory=dict[int, "frozenset[str]"])
    """Racks of the leaders of what a task reads, by partition number, where tasks are to run near them."""

    @property
    def partitions(self) -> int:
        return max(self.topics.values(), default=0)


class PartOnWire(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    hash: str
    topics: dict[str, int]
    stateful: bool = True


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a member says of itself. Task numbers follow the order of `parts`."""

    process: str
    parts: list[PartOnWire]
    host: str = ""
    peer: str = ""
    node: str = ""
    rack: str = ""
    static: bool = False
    generation: int = -1
    turn: int = 0
    """Differs each time the member asks for a rebalance: Kafka starts none for a member that says nothing new."""
    owned: Numbers = {}
    opening: list[tuple[int, int, list[str]]] = []
    standby: Numbers = {}
    promised: Numbers = {}
    warming: Numbers = {}
    lags: Figures = {}
    weights: Figures = {}
    sizes: Figures = {}


class Seat(msgspec.Struct, frozen=True, omit_defaults=True):
    """A living member: `peer` is where it can be asked whether it lives, `host` where it answers queries."""

    member: str
    process: str
    host: str = ""
    peer: str = ""
    static: bool = False


class Shared(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every member gets and brings back: `owners` has a list a sub-topology, an entry a partition.

    An entry is -1 for nobody, a process's number, or the owner's number (or -1) and those of former owners.
    """

    generation: int
    processes: list[str]
    names: list[str]
    running: list[str]
    owners: list[list[int | list[int]]]
    seats: list[Seat]
    weights: Figures = {}
    sizes: Figures = {}


class PlanOnWire(msgspec.Struct, frozen=True, omit_defaults=True):
    names: list[str]
    active: Numbers = {}
    standby: Numbers = {}
    warming: Numbers = {}
    promised: Numbers = {}
    orphans: Numbers = {}
    pending: bool = False
    note: str = ""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    format: int
    inner: bytes
    shared: bytes


@dataclass(frozen=True)
class Received:
    """A plan as its member got it."""

    plan: Plan
    seats: tuple[Seat, ...]
    shared: bytes


def packed(value: msgspec.Struct) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(value), 6)


def unpacked(data: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=kind)
    except (zlib.error, msgspec.MsgspecError) as failure:
        raise Broken(f"user data of a group member cannot be read: {failure}") from failure


def sealed(inner: msgspec.Struct, shared: bytes) -> bytes:
    return msgspec.msgpack.encode(Envelope(FORMAT, packed(inner), shared))


def opened(data: bytes) -> Envelope:
    try:
        envelope = msgspec.msgpack.decode(data, type=Envelope)
    except msgspec.MsgspecError as failure:
        raise Broken(f"a group member is not a Tidemill process: {failure}") from failure
    if envelope.format != FORMAT:
        raise Fatal(
            f"a member of the group speaks format {envelope.format} of Tidemill's membership, this version speaks "
            f"{FORMAT}: stop all instances before this upgrade"
        )
    return envelope


def subscription(parts: Iterable[Part], report: Report, shared: bytes) -> bytes:
    """What goes into JoinGroup."""
    topics = sorted({topic for part in parts for topic in part.topics})
    w = Writer().int16(0).int32(len(topics))
    for topic in topics:
        w.string(topic)
    return w.bytes(sealed(report, shared)).done()


def decode_subscription(data: bytes) -> tuple[Report, bytes]:
    r = Reader(data)
    r.int16()
    for _ in r.count():
        r.string()
    envelope = opened(r.bytes())
    report = unpacked(envelope.inner, Report)
    assert isinstance(report, Report)
    return report, envelope.shared


def decode_plan(data: bytes, parts: Iterable[Part]) -> Received:
    """What came out of SyncGroup, in the numbers of this member's own sub-topologies; others are left out."""
    r = Reader(data)
    r.int16()
    for _ in r.count():
        r.string()
        for _ in r.count():
            r.int32()
    envelope = opened(r.bytes())
    wire = unpacked(envelope.inner, PlanOnWire)
    assert isinstance(wire, PlanOnWire)
    own = {part.name: part.id for part in parts}
    numbers = [own.get(name, -1) for name in wire.names]
    shared = read_shared(envelope.shared)
    memory = memory_of(shared, own)
    active = tasks_of(wire.active, numbers)
    plan = Plan(
        active=active,
        standby=tasks_of(wire.standby, numbers),
        warming=tasks_of(wire.warming, numbers),
        promised=tasks_of(wire.promised, numbers),
        fence={t: memory.owners[t][1:] for t in sorted(active) if len(memory.owners.get(t, ())) > 1},
        owners={task: chain[0] for task, chain in memory.owners.items() if chain[0]},
        hosts={seat.process: seat.host for seat in shared.seats if seat.host},
        memory=memory,
        pending=wire.pending,
        orphans=tasks_of(wire.orphans, numbers),
        note=wire.note,
    )
    return Received(plan, tuple(shared.seats), envelope.shared)


def read_shared(data: bytes) -> Shared:
    if not data:
        return Shared(-1, [], [], [], [], [])
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


def written_shared(memory: Memory, names: list[str], seats: list[Seat]) -> bytes:
    processes = sorted({p for chain in memory.owners.values() for p in chain if p})
    index = {process: number for number, process in enumerate(processes)}
    owners: list[list[int | list[int]]] = [[] for _ in names]
    for task in sorted(memory.owners):
        row = owners[task.subtopology]
        row.extend([-1] * (task.partition - len(row)))
        chain = [index.get(p, -1) for p in memory.owners[task]]
        row.append(chain[0] if len(chain) == 1 else chain)
    running = [memory.running.get(number, "") for number in range(len(names))]
    order = {number: number for number in range(len(names))}
    weights, sizes = figures(memory.weights, order), figures(memory.sizes, order)
    return packed(Shared(memory.generation, processes, names, running, owners, seats, weights, sizes))


class Catalogue:
    """One assignment's numbering of sub-topologies: by name, over all members and what the group remembers."""

    def __init__(self, members: Iterable[tuple[str, bytes]]) -> None:
        self._reports: dict[str, Report] = {}
        newest = read_shared(b"")
        memories: dict[bytes, Shared] = {}
        for member, data in members:
            report, raw = decode_subscription(data)
            self._reports[member] = report
            if raw not in memories:
                memories[raw] = read_shared(raw)
            if memories[raw].generation > newest.generation:
                newest = memories[raw]
        names = {part.name for report in self._reports.values() for part in report.parts} | set(newest.names)
        self.names = sorted(names)
        self._number = {name: number for number, name in enumerate(self.names)}
        self._memory = memory_of(newest, self._number)

    def members(self) -> list[Member]:
        """The members, for `assign`."""
        return [self._member(member, report) for member, report in self._reports.items()]

    def assignments(self, plans: Mapping[str, Plan], shared: bytes) -> dict[str, bytes]:
        """What goes into the leader's SyncGroup."""
        return {member: self._assignment(self._reports[member], plan, shared) for member, plan in plans.items()}

    def near(self, parts: Iterable[Part]) -> dict[TaskId, frozenset[str]]:
        """What the leader's own view of the topology says of nearness, in this assignment's numbers."""
        return {TaskId(self._number[part.name], number): racks for part in parts for number, racks in part.near.items()}

    def shared(self, plans: Mapping[str, Plan]) -> bytes:
        """What every member gets and brings back to the next leader."""
        seats = [Seat(member, r.process, r.host, r.peer, r.static) for member, r in sorted(self._reports.items())]
        memory = next((plan.memory for plan in plans.values()), Memory())
        return written_shared(memory, self.names, seats)

    def _member(self, member: str, report: Report) -> Member:
        numbers = [self._number[part.name] for part in report.parts]
        return Member(
            id=member,
            process=report.process,
            host=report.host,
            node=report.node,
            rack=report.rack,
            generation=report.generation,
            owned=tasks_of(report.owned, numbers),
            opening={TaskId(numbers[part], p): tuple(chain) for part, p, chain in report.opening},
            standby=tasks_of(report.standby, numbers),
            lags=figures_of(report.lags, numbers),
            promised=tasks_of(report.promised, numbers),
            warming=tasks_of(report.warming, numbers),
            knows={
                self._number[part.name]: Version(part.hash, max(part.topics.values(), default=0), part.stateful)
                for part in report.parts
            },
            weights=figures_of(report.weights, numbers),
            sizes=figures_of(report.sizes, numbers),
            memory=self._memory,
        )

    def _note(self, plan: Plan) -> str:
        """Tasks that nobody can run, by names that every member understands."""
        lost = [f"{self.names[part]} ({', '.join(map(str, row))})" for part, row in numbered(plan.orphans).items()]
        return f"no living member can run what reads {', '.join(lost)}" if lost else plan.note

    def _assignment(self, report: Report, plan: Plan, shared: bytes) -> bytes:
        """Kafka's own part names the partitions read, so that its tools show them."""
        topics = {self._number[part.name]: part.topics for part in report.parts}
        reads: dict[str, list[int]] = {}
        for task in sorted(plan.active):
            for topic, count in topics.get(task.subtopology, {}).items():
                if task.partition < count:
                    reads.setdefault(topic, []).append(task.partition)
        w = Writer().int16(0).int32(len(reads))
        for topic in sorted(reads):
            w.string(topic).int32(len(reads[topic]))
            for partition in reads[topic]:
                w.int32(partition)
        wire = PlanOnWire(
            self.names,
            numbered(plan.active),
            numbered(plan.standby),
            numbered(plan.warming),
            numbered(plan.promised),
            numbered(plan.orphans),
            plan.pending,
            self._note(plan),
        )
        return w.bytes(sealed(wire, shared)).done()


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
