"""What members tell the leader and the leader tells them, as bytes inside the consumer protocol.

The envelope is Kafka's own (subscription and assignment version 0), so that its tools show who reads what. Inside,
sub-topologies go by name, since two versions of a program may number them differently: `Catalogue` translates between
each member's numbers and those of one assignment. All of it together is one record of Kafka's, so each member is told
what concerns it and no more; what the whole group must remember (`shared`) is kept by a few members, which bring it
back as it went. Fields that a reader does not know are skipped, those it misses have defaults: versions of Tidemill can
differ within a group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from ...assignment.assignment import Member, Memory, Plan, Version
from ...errors import Fatal
from ...ids import TaskId
from ...kafka.encoding import Broken, Reader, Writer
from .assignment_state import (
    Figures,
    Numbers,
    Shared,
    figures,
    figures_of,
    memory_of,
    numbered,
    packed,
    read_shared,
    tasks_of,
    unpacked,
    written_shared,
)
from .member_info import Seat, neighbours

__all__ = [
    "Catalogue",
    "Part",
    "PartOnWire",
    "Received",
    "Report",
    "decode_plan",
    "decode_subscription",
    "subscription",
]

FORMAT = 2
HOLDERS = 5
"""So many members keep what the group must remember. If all of them die at once, those left look for what is open."""
NOBODY = read_shared(b"")


@dataclass(frozen=True)
class Part:
    """A sub-topology as this member runs it; `id` is the one in its own TaskIds, `name` the same in all versions."""

    id: int
    name: str
    hash: str
    topics: Mapping[str, int]
    """Topics that its tasks read, with their partition counts."""
    stateful: bool = True
    changelogs: frozenset[str] = frozenset()
    """Topics that its tasks write their state to."""
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
    changelogs: list[str] = []

    @property
    def version(self) -> Version:
        """For `assign`."""
        holds = frozenset((*self.topics, *self.changelogs))
        return Version(self.hash, max(self.topics.values(), default=0), self.stateful, holds)


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a member says of itself. Task numbers follow the order of `parts`."""

    process: str
    parts: list[PartOnWire]
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


class PlanOnWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """A member's plan. Sub-topologies are numbered in the order of `names`, which has those that occur."""

    generation: int
    process: str
    """The process that the plan was made for: a static member that was restarted gets that of its former self."""
    names: list[str]
    running: list[str]
    """The hashes that run, in the order of `names`."""
    active: Numbers = {}
    standby: Numbers = {}
    warming: Numbers = {}
    promised: Numbers = {}
    orphans: Numbers = {}
    waiting: list[int] = []
    fence: list[tuple[int, int, list[str]]] = []
    weights: Figures = {}
    """What the group knows of active tasks."""
    members: int = 0
    seats: list[Seat] = []
    """The members to watch."""
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
    process: str
    """Whom it was made for."""
    members: int
    """How many there are in the group."""
    seats: tuple[Seat, ...]
    """Those to watch."""
    shared: bytes


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
    parts = list(parts)
    own = {part.name: part.id for part in parts}
    hashes = {part.name: part.hash for part in parts}
    runs = dict(zip(wire.names, wire.running, strict=True))
    every = [own.get(name, -1) for name in wire.names]
    # What was given to another version of the program is not for this one.
    numbers = [own[name] if hashes.get(name) == text else -1 for name, text in runs.items()]
    active = tasks_of(wire.active, numbers)
    memory = Memory(
        wire.generation,
        running={own[name]: text for name, text in runs.items() if text and name in own},
        weights=figures_of(wire.weights, numbers),
    )
    plan = Plan(
        active=active,
        standby=tasks_of(wire.standby, numbers),
        warming=tasks_of(wire.warming, numbers),
        promised=tasks_of(wire.promised, numbers),
        fence={TaskId(numbers[part], p): tuple(chain) for part, p, chain in wire.fence if numbers[part] >= 0},
        owners=dict.fromkeys(active, wire.process),
        memory=memory,
        pending=wire.pending,
        orphans=tasks_of(wire.orphans, every),
        waiting=frozenset(every[part] for part in wire.waiting if every[part] >= 0),
        note=wire.note,
    )
    return Received(plan, wire.process, wire.members, tuple(wire.seats), envelope.shared)


class Catalogue:
    """One assignment's numbering of sub-topologies: by name, over all members and what the group remembers."""

    def __init__(self, members: Iterable[tuple[str, bytes]]) -> None:
        self._reports: dict[str, Report] = {}
        newest = NOBODY
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

    def assignments(self, plans: Mapping[str, Plan], shared: bytes, leader: str = "") -> dict[str, bytes]:
        """What goes into the SyncGroup of the leader, which is among those that keep what is shared."""
        seats = [Seat(member, r.process, r.peer, r.static) for member, r in sorted(self._reports.items())]
        holders = self._holders(leader)
        return {
            member: self._assignment(member, plan, seats, shared if member in holders else b"")
            for member, plan in plans.items()
        }

    def _holders(self, leader: str) -> set[str]:
        """A few members, on different machines as far as there are any."""
        met: Counter[str] = Counter()
        order: list[tuple[bool, int, str]] = []
        for member, report in sorted(self._reports.items()):
            order.append((member != leader, met[report.node], member))
            met[report.node] += 1
        return {member for *_, member in sorted(order)[:HOLDERS]}

    def near(self, parts: Iterable[Part]) -> dict[TaskId, frozenset[str]]:
        """What the leader's own view of the topology says of nearness, in this assignment's numbers."""
        return {TaskId(self._number[part.name], number): racks for part in parts for number, racks in part.near.items()}

    def shared(self, plans: Mapping[str, Plan]) -> bytes:
        """What the next leader must know of this generation."""
        return written_shared(next((plan.memory for plan in plans.values()), Memory()), self.names)

    def _member(self, member: str, report: Report) -> Member:
        numbers = [self._number[part.name] for part in report.parts]
        return Member(
            id=member,
            process=report.process,
            node=report.node,
            rack=report.rack,
            generation=report.generation,
            owned=tasks_of(report.owned, numbers),
            opening={TaskId(numbers[part], p): tuple(chain) for part, p, chain in report.opening},
            standby=tasks_of(report.standby, numbers),
            lags=figures_of(report.lags, numbers),
            promised=tasks_of(report.promised, numbers),
            warming=tasks_of(report.warming, numbers),
            knows={self._number[part.name]: part.version for part in report.parts},
            weights=figures_of(report.weights, numbers),
            sizes=figures_of(report.sizes, numbers),
            memory=self._memory,
        )

    def _note(self, plan: Plan) -> str:
        """Tasks that no member can run, by names that every member understands.

        Not those of a sub-topology that no member knows any more when another one reads its topic now.
        """
        known = [part for report in self._reports.values() for part in report.parts]
        taken_over = {topic for part in known for topic in part.topics} - {part.name for part in known}
        lost = [
            f"{self.names[part]} ({', '.join(map(str, row))})"
            for part, row in numbered(plan.orphans).items()
            if self.names[part] not in taken_over
        ]
        return f"no living member can run what reads {', '.join(lost)}" if lost else ""

    def _assignment(self, member: str, plan: Plan, seats: list[Seat], shared: bytes) -> bytes:
        """Kafka's own part names the partitions read, so that its tools show them."""
        report = self._reports[member]
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
        tasks = plan.active | plan.standby | plan.promised | plan.orphans
        parts = sorted({task.subtopology for task in tasks} | plan.waiting)
        order = {part: index for index, part in enumerate(parts)}
        memory = plan.memory
        wire = PlanOnWire(
            memory.generation,
            report.process,
            [self.names[part] for part in parts],
            [memory.running.get(part, "") for part in parts],
            numbered(plan.active, order),
            numbered(plan.standby, order),
            numbered(plan.warming, order),
            numbered(plan.promised, order),
            numbered(plan.orphans, order),
            [order[part] for part in sorted(plan.waiting)],
            [(order[t.subtopology], t.partition, list(chain)) for t, chain in sorted(plan.fence.items())],
            figures({t: memory.weights[t] for t in plan.active if t in memory.weights}, order),
            len(seats),
            [seat for seat in neighbours(seats, member) if seat.peer],
            plan.pending,
            self._note(plan),
        )
        return w.bytes(sealed(wire, shared)).done()
