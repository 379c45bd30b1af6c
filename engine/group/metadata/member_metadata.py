"""The encoding of the metadata from members to the leader, and of plans back to members.

The envelope is Kafka's own (subscription and assignment version 0), so that Kafka's tools show which member reads what.
Inside, sub-topologies are identified by name, since two versions of a program may number them differently:
`SubTopologyNumbering` translates between each member's numbers and those of one assignment. Kafka stores all of it in
one record, so each member receives only what concerns it. The state that the whole group must remember (`shared`) is
kept by a few members, which return it unchanged. Unknown fields are skipped and missing ones have defaults, so that
versions of Tidemill can differ within a group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from ...assignment.assignment import MemberAssignment, MemberState, SharedState, SubTopologyVersion
from ...errors import Fatal
from ...ids import TaskId
from ...kafka.encoding import ProtocolError, RequestWriter, ResponseReader
from .member_info import MemberInfo, neighbours
from .shared_state import (
    EncodedSharedState,
    Figures,
    Numbers,
    decode_shared_state,
    encode_shared_state,
    figures,
    figures_of,
    numbered,
    packed,
    shared_state_of,
    tasks_of,
    unpacked,
)

__all__ = [
    "ReceivedAssignment",
    "SubTopologyData",
    "SubTopologyInfo",
    "SubTopologyNumbering",
    "SubscriptionInfo",
    "decode_plan",
    "decode_subscription",
    "subscription",
]

FORMAT = 2
HOLDERS = 5
"""The number of members that keep the shared state. If all of them die at once, the others search for open
transactions."""
NO_SHARED_STATE = decode_shared_state(b"")


@dataclass(frozen=True)
class SubTopologyInfo:
    """A sub-topology of this member; `id` is used in its TaskIds, `name` in all versions."""

    id: int
    name: str
    hash: str
    topics: Mapping[str, int]
    """Topics that its tasks read, with their partition counts."""
    stateful: bool = True
    changelogs: frozenset[str] = frozenset()
    """Topics that its tasks write their state to."""
    near: Mapping[int, frozenset[str]] = field(default_factory=dict[int, "frozenset[str]"])
    """Racks of the leaders of each task's partitions, by partition number, if tasks should run near them."""

    @property
    def partitions(self) -> int:
        return max(self.topics.values(), default=0)


class SubTopologyData(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    hash: str
    topics: dict[str, int]
    stateful: bool = True
    changelogs: list[str] = []

    @property
    def version(self) -> SubTopologyVersion:
        """The version of the sub-topology, for `assign`."""
        holds = frozenset((*self.topics, *self.changelogs))
        return SubTopologyVersion(self.hash, max(self.topics.values(), default=0), self.stateful, holds)


class SubscriptionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of a member as it reports it. Task numbers follow the order of `parts`."""

    process: str
    parts: list[SubTopologyData]
    peer: str = ""
    node: str = ""
    rack: str = ""
    static: bool = False
    generation: int = -1
    turn: int = 0
    """Changes each time the member asks for a rebalance: Kafka starts none for unchanged metadata."""
    owned: Numbers = {}
    opening: list[tuple[int, int, list[str]]] = []
    standby: Numbers = {}
    promised: Numbers = {}
    warming: Numbers = {}
    lags: Figures = {}
    weights: Figures = {}
    sizes: Figures = {}


class AssignmentInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The plan of a member. Sub-topologies are numbered in the order of `names`."""

    generation: int
    process: str
    """The process that the plan was made for: a restarted static member gets the plan of its earlier process."""
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
    """The weights of active tasks that the group knows."""
    members: int = 0
    seats: list[MemberInfo] = []
    """The members to watch."""
    pending: bool = False
    note: str = ""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    format: int
    inner: bytes
    shared: bytes


@dataclass(frozen=True)
class ReceivedAssignment:
    """A plan as its member received it."""

    plan: MemberAssignment
    process: str
    """The process that it was made for."""
    members: int
    """The number of members of the group."""
    seats: tuple[MemberInfo, ...]
    """The members to watch."""
    shared: bytes


def wrap(inner: msgspec.Struct, shared: bytes) -> bytes:
    return msgspec.msgpack.encode(Envelope(FORMAT, packed(inner), shared))


def unwrap(data: bytes) -> Envelope:
    try:
        envelope = msgspec.msgpack.decode(data, type=Envelope)
    except msgspec.MsgspecError as failure:
        raise ProtocolError(f"a group member is not a Tidemill process: {failure}") from failure
    if envelope.format != FORMAT:
        raise Fatal(
            f"a member of the group uses format {envelope.format} of Tidemill's metadata, this version uses "
            f"{FORMAT}: stop all instances before this upgrade"
        )
    return envelope


def subscription(parts: Iterable[SubTopologyInfo], report: SubscriptionInfo, shared: bytes) -> bytes:
    """Encode the metadata of a JoinGroup request."""
    topics = sorted({topic for subtopology in parts for topic in subtopology.topics})
    w = RequestWriter().int16(0).int32(len(topics))
    for topic in topics:
        w.string(topic)
    return w.bytes(wrap(report, shared)).done()


def decode_subscription(data: bytes) -> tuple[SubscriptionInfo, bytes]:
    r = ResponseReader(data)
    r.int16()
    for _ in r.count():
        r.string()
    envelope = unwrap(r.bytes())
    report = unpacked(envelope.inner, SubscriptionInfo)
    assert isinstance(report, SubscriptionInfo)
    return report, envelope.shared


def decode_plan(data: bytes, parts: Iterable[SubTopologyInfo]) -> ReceivedAssignment:
    """Decode a SyncGroup response, in this member's own numbers of sub-topologies.

    Sub-topologies that this member does not know are left out.
    """
    r = ResponseReader(data)
    r.int16()
    for _ in r.count():
        r.string()
        for _ in r.count():
            r.int32()
    envelope = unwrap(r.bytes())
    wire = unpacked(envelope.inner, AssignmentInfo)
    assert isinstance(wire, AssignmentInfo)
    parts = list(parts)
    own = {subtopology.name: subtopology.id for subtopology in parts}
    hashes = {subtopology.name: subtopology.hash for subtopology in parts}
    runs = dict(zip(wire.names, wire.running, strict=True))
    every = [own.get(name, -1) for name in wire.names]
    # Assignments to another version of the program do not concern this one.
    numbers = [own[name] if hashes.get(name) == text else -1 for name, text in runs.items()]
    active = tasks_of(wire.active, numbers)
    memory = SharedState(
        wire.generation,
        running={own[name]: text for name, text in runs.items() if text and name in own},
        weights=figures_of(wire.weights, numbers),
    )
    plan = MemberAssignment(
        active=active,
        standby=tasks_of(wire.standby, numbers),
        warming=tasks_of(wire.warming, numbers),
        promised=tasks_of(wire.promised, numbers),
        fence={
            TaskId(numbers[subtopology], p): tuple(chain)
            for subtopology, p, chain in wire.fence
            if numbers[subtopology] >= 0
        },
        owners=dict.fromkeys(active, wire.process),
        memory=memory,
        pending=wire.pending,
        orphans=tasks_of(wire.orphans, every),
        waiting=frozenset(every[subtopology] for subtopology in wire.waiting if every[subtopology] >= 0),
        note=wire.note,
    )
    return ReceivedAssignment(plan, wire.process, wire.members, tuple(wire.seats), envelope.shared)


class SubTopologyNumbering:
    """The numbers of sub-topologies in one assignment, by name.

    Includes those of all members and of the shared state.
    """

    def __init__(self, members: Iterable[tuple[str, bytes]]) -> None:
        self._reports: dict[str, SubscriptionInfo] = {}
        newest = NO_SHARED_STATE
        memories: dict[bytes, EncodedSharedState] = {}
        for member, data in members:
            report, raw = decode_subscription(data)
            self._reports[member] = report
            if raw not in memories:
                memories[raw] = decode_shared_state(raw)
            if memories[raw].generation > newest.generation:
                newest = memories[raw]
        names = {subtopology.name for report in self._reports.values() for subtopology in report.parts} | set(
            newest.names
        )
        self.names = sorted(names)
        self._number = {name: number for number, name in enumerate(self.names)}
        self._memory = shared_state_of(newest, self._number)

    def members(self) -> list[MemberState]:
        """Return the states of all members, for `assign`."""
        return [self._member(member, report) for member, report in self._reports.items()]

    def assignments(self, plans: Mapping[str, MemberAssignment], shared: bytes, leader: str = "") -> dict[str, bytes]:
        """Encode the plans for the SyncGroup request of the leader, which keeps the shared state."""
        seats = [MemberInfo(member, r.process, r.peer, r.static) for member, r in sorted(self._reports.items())]
        holders = self._holders(leader)
        return {
            member: self._assignment(member, plan, seats, shared if member in holders else b"")
            for member, plan in plans.items()
        }

    def _holders(self, leader: str) -> set[str]:
        """Choose the members that keep the shared state, on different machines if possible."""
        placed: Counter[str] = Counter()
        order: list[tuple[bool, int, str]] = []
        for member, report in sorted(self._reports.items()):
            order.append((member != leader, placed[report.node], member))
            placed[report.node] += 1
        return {member for *_, member in sorted(order)[:HOLDERS]}

    def near(self, parts: Iterable[SubTopologyInfo]) -> dict[TaskId, frozenset[str]]:
        """Return the racks near each task, from the leader's topology, in this assignment's numbers."""
        return {
            TaskId(self._number[subtopology.name], number): racks
            for subtopology in parts
            for number, racks in subtopology.near.items()
        }

    def shared(self, plans: Mapping[str, MemberAssignment]) -> bytes:
        """Encode the state of this generation that the next leader needs."""
        return encode_shared_state(next((plan.memory for plan in plans.values()), SharedState()), self.names)

    def _member(self, member: str, report: SubscriptionInfo) -> MemberState:
        numbers = [self._number[subtopology.name] for subtopology in report.parts]
        return MemberState(
            id=member,
            process=report.process,
            node=report.node,
            rack=report.rack,
            generation=report.generation,
            owned=tasks_of(report.owned, numbers),
            opening={TaskId(numbers[subtopology], p): tuple(chain) for subtopology, p, chain in report.opening},
            standby=tasks_of(report.standby, numbers),
            lags=figures_of(report.lags, numbers),
            promised=tasks_of(report.promised, numbers),
            warming=tasks_of(report.warming, numbers),
            knows={self._number[subtopology.name]: subtopology.version for subtopology in report.parts},
            weights=figures_of(report.weights, numbers),
            sizes=figures_of(report.sizes, numbers),
            memory=self._memory,
        )

    def _note(self, plan: MemberAssignment) -> str:
        """Describe the tasks that no member can run, by names that every member knows.

        Leaves out sub-topologies that no member knows any more if another one reads their topic now.
        """
        known = [subtopology for report in self._reports.values() for subtopology in report.parts]
        taken_over = {topic for subtopology in known for topic in subtopology.topics} - {
            subtopology.name for subtopology in known
        }
        lost = [
            f"{self.names[subtopology]} ({', '.join(map(str, row))})"
            for subtopology, row in numbered(plan.orphans).items()
            if self.names[subtopology] not in taken_over
        ]
        return f"no living member can run the tasks that read {', '.join(lost)}" if lost else ""

    def _assignment(self, member: str, plan: MemberAssignment, seats: list[MemberInfo], shared: bytes) -> bytes:
        """Encode one plan, with the partitions in Kafka's own part, so that its tools show them."""
        report = self._reports[member]
        topics = {self._number[subtopology.name]: subtopology.topics for subtopology in report.parts}
        reads: dict[str, list[int]] = {}
        for task in sorted(plan.active):
            for topic, count in topics.get(task.subtopology, {}).items():
                if task.partition < count:
                    reads.setdefault(topic, []).append(task.partition)
        w = RequestWriter().int16(0).int32(len(reads))
        for topic in sorted(reads):
            w.string(topic).int32(len(reads[topic]))
            for partition in reads[topic]:
                w.int32(partition)
        tasks = plan.active | plan.standby | plan.promised | plan.orphans
        parts = sorted({task.subtopology for task in tasks} | plan.waiting)
        order = {subtopology: index for index, subtopology in enumerate(parts)}
        memory = plan.memory
        wire = AssignmentInfo(
            memory.generation,
            report.process,
            [self.names[subtopology] for subtopology in parts],
            [memory.running.get(subtopology, "") for subtopology in parts],
            numbered(plan.active, order),
            numbered(plan.standby, order),
            numbered(plan.warming, order),
            numbered(plan.promised, order),
            numbered(plan.orphans, order),
            [order[subtopology] for subtopology in sorted(plan.waiting)],
            [(order[t.subtopology], t.partition, list(chain)) for t, chain in sorted(plan.fence.items())],
            figures({t: memory.weights[t] for t in plan.active if t in memory.weights}, order),
            len(seats),
            [info for info in neighbours(seats, member) if info.peer],
            plan.pending,
            self._note(plan),
        )
        return w.bytes(wrap(wire, shared)).done()
