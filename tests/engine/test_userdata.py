"""What members tell each other survives the way over the wire, whatever each calls its sub-topologies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.group_model import Group, Process
from tests.engine.test_assignment import STEPS, play, versions
from tidemill.engine.assignment import Member, Memory, Plan, Policy, Version, assign
from tidemill.engine.errors import Fatal
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.encoding import Broken, Reader, Writer
from tidemill.engine.kafka.userdata import (
    Catalogue,
    Part,
    PartOnWire,
    Received,
    Report,
    decode_plan,
    figures,
    memory_of,
    numbered,
    read_shared,
    subscription,
    written_shared,
)


class Wired(Group):
    """The group of the model, with every word between members going over the wire; odd members number backwards."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.shared: dict[str, bytes] = {}

    def parts(self, process: Process) -> tuple[Part, ...]:
        return tuple(
            Part(part, f"part-{part}", version.hash, {f"topic-{part}": version.partitions}, version.stateful)
            for part, version in sorted(process.knows.items(), reverse=int(process.name, 16) % 2 == 1)
        )

    def written(self, process: Process, member: Member) -> bytes:
        parts = self.parts(process)
        order = {part.id: index for index, part in enumerate(parts)}
        report = Report(
            process=member.process,
            parts=[PartOnWire(p.name, p.hash, dict(p.topics), p.stateful) for p in parts],
            node=member.node,
            rack=member.rack,
            generation=member.generation,
            owned=numbered(member.owned, order),
            opening=[(order[t.subtopology], t.partition, list(c)) for t, c in sorted(member.opening.items())],
            standby=numbered(member.standby, order),
            promised=numbered(member.promised, order),
            warming=numbered(member.warming, order),
            lags=figures(member.lags, order),
            weights=figures(member.weights, order),
            sizes=figures(member.sizes, order),
        )
        return subscription(parts, report, self.shared.get(process.name, b""))

    def over_the_wire(self) -> None:
        """The next generation, computed both ways."""
        by_id = {p.member: p for p in self.processes.values()}
        members = [self.member(p) for p in self.processes.values()]
        catalogue = Catalogue([(m.id, self.written(by_id[m.id], m)) for m in members])
        generation = self.generation + 1
        plans = assign(catalogue.members(), generation, self.policy)
        shared = catalogue.shared(plans)
        assignments = catalogue.assignments(plans, shared)
        expected = assign(members, generation, self.policy)
        for member, plan in expected.items():
            process = by_id[member]
            received = decode_plan(assignments[member], self.parts(process))
            assert_same(received, plan, process)
        for process in self.processes.values():
            self.shared[process.name] = shared
        self.rebalance()


def assert_same(received: Received, plan: Plan, process: Process) -> None:
    def known(task: TaskId) -> bool:
        return task.subtopology in process.knows

    got = received.plan
    assert got.active == plan.active
    assert got.standby == plan.standby
    assert got.warming == plan.warming
    assert got.promised == plan.promised
    assert got.fence == plan.fence
    assert got.pending == plan.pending
    assert got.owners == {task: owner for task, owner in plan.owners.items() if known(task)}
    assert got.memory.generation == plan.memory.generation
    assert got.memory.owners == {task: chain for task, chain in plan.memory.owners.items() if known(task)}
    assert got.orphans == {task for task in plan.orphans if known(task)}


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=20),
    st.integers(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_an_assignment_over_the_wire_is_the_assignment(
    shape: list[int], history: list[tuple[str, int]], standbys: int
) -> None:
    group = Wired(Policy(standbys=standbys))
    knows = versions(*shape)
    group.start(knows)
    group.start(knows)
    group.over_the_wire()
    for step in history:
        play(group, knows, [("open", 0), step] if step[0] not in ("rebalance", "cut") else [("open", 0)])
        if group.processes:
            group.over_the_wire()


def test_partitions_read_are_written_where_kafkas_tools_look() -> None:
    parts = (Part(3, "joined", "v1", {"wide": 3, "narrow": 2}),)
    report = Report("p" * 32 + ".1", [PartOnWire("joined", "v1", {"wide": 3, "narrow": 2})])
    subscribed = Reader(subscription(parts, report, b""))
    assert (subscribed.int16(), [subscribed.string() for _ in subscribed.count()]) == (0, ["narrow", "wide"])
    catalogue = Catalogue([("m", subscription(parts, report, b""))])
    plans = assign(catalogue.members(), 1)
    data = catalogue.assignments(plans, catalogue.shared(plans))["m"]
    assigned = Reader(data)
    assert assigned.int16() == 0
    read = {assigned.string(): [assigned.int32() for _ in assigned.count()] for _ in assigned.count()}
    assert read == {"narrow": [0, 1], "wide": [0, 1, 2]}
    assert decode_plan(data, parts).plan.active == {TaskId(3, 0), TaskId(3, 1), TaskId(3, 2)}


def test_a_memory_with_holes() -> None:
    memory = Memory(
        7, {TaskId(0, 5): ("p", "q"), TaskId(1, 2): ("", "q")}, {0: "v"}, {TaskId(1, 0): 3}, {TaskId(0, 5): 8}
    )
    shared = written_shared(memory, ["a", "b"], [])
    filled = {TaskId(0, n): ("",) for n in range(5)} | {TaskId(1, n): ("",) for n in range(2)}
    read = memory_of(read_shared(shared), {"a": 0, "b": 1})
    assert read == Memory(7, {**filled, **memory.owners}, memory.running, memory.weights, memory.sizes)
    other = memory_of(read_shared(shared), {"b": 4})
    assert other == Memory(
        7, {TaskId(4, 2): ("", "q"), TaskId(4, 0): ("",), TaskId(4, 1): ("",)}, {}, {TaskId(4, 0): 3}
    )


def test_the_envelope_of_another_format_is_refused() -> None:
    data = Writer().int16(0).int32(0).bytes(b"\x93\x09\xc4\x00\xc4\x00").done()
    with pytest.raises(Fatal, match="format 9"):
        Catalogue([("m", data)])


@pytest.mark.parametrize("data", [b"", b"\x93\x01\xc4\x01x\xc4\x00", b"nonsense"])
def test_a_member_that_is_no_tidemill_process(data: bytes) -> None:
    with pytest.raises(Broken):
        Catalogue([("m", Writer().int16(0).int32(0).bytes(data).done())])


def test_a_group_of_fifty_with_five_thousand_tasks_stays_below_what_a_broker_stores() -> None:
    """A group's members and their assignments are one record; brokers take records of a mebibyte by default."""
    group = Wired(Policy())
    knows = {part: Version("v1", 1000) for part in range(5)}
    for _ in range(50):
        group.start(knows)
    members = [group.member(p) for p in group.processes.values()]
    by_id = {p.member: p for p in group.processes.values()}
    catalogue = Catalogue([(m.id, group.written(by_id[m.id], m)) for m in members])
    plans = assign(catalogue.members(), 1)
    shared = catalogue.shared(plans)
    assignments = catalogue.assignments(plans, shared)
    for process in group.processes.values():
        process.own.assigned(1, decode_plan(assignments[process.member], group.parts(process)).plan)
        process.own.opened(process.tasks)
        group.shared[process.name] = shared
    subscriptions = [group.written(p, group.member(p)) for p in group.processes.values()]
    stored = sum(map(len, subscriptions)) + sum(map(len, assignments.values()))
    assert stored < 1_000_000, f"{stored:,} bytes"
