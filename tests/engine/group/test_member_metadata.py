"""Tests of the group metadata as bytes, between members that number their sub-topologies differently."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.assignment.test_assignment import STEPS, play, versions
from tests.support.examples import examples
from tests.support.group_model import Group, Process
from tidemill.engine.assignment.assignment import (
    AssignmentPolicy,
    MemberAssignment,
    MemberState,
    SharedState,
    assign,
    coarse,
)
from tidemill.engine.errors import Fatal
from tidemill.engine.group.leader import GroupAssignment, perform_assignment, too_large, warn_of_size
from tidemill.engine.group.metadata import member_metadata
from tidemill.engine.group.metadata.member_info import MemberInfo
from tidemill.engine.group.metadata.member_metadata import (
    ReceivedAssignment,
    SubscriptionInfo,
    SubTopologyData,
    SubTopologyInfo,
    SubTopologyNumbering,
    decode_plan,
    subscription,
)
from tidemill.engine.group.metadata.shared_state import (
    decode_shared_state,
    encode_shared_state,
    figures,
    numbered,
    shared_state_of,
)
from tidemill.engine.group.self_report import rounded_lags, subtopology_data
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.encoding import ProtocolError, RequestWriter, ResponseReader
from tidemill.engine.kafka.protocol import JoinGroupResponse


class Wired(Group):
    """The model group with all metadata encoded as bytes; odd members number their sub-topologies backwards."""

    def __init__(self, policy: AssignmentPolicy) -> None:
        super().__init__(policy)
        self.shared: dict[str, bytes] = {}

    def parts(self, process: Process) -> tuple[SubTopologyInfo, ...]:
        return tuple(
            SubTopologyInfo(
                subtopology,
                f"part-{subtopology}",
                version.hash,
                dict.fromkeys(version.holds or {f"topic-{subtopology}"}, version.partitions),
                version.stateful,
            )
            for subtopology, version in sorted(process.knows.items(), reverse=int(process.name, 16) % 2 == 1)
        )

    def written(self, process: Process, member: MemberState) -> bytes:
        parts = self.parts(process)
        order = {subtopology.id: index for index, subtopology in enumerate(parts)}
        report = SubscriptionInfo(
            process=member.process,
            parts=subtopology_data(parts),
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
        """Run the next generation, computed with and without encoding."""
        by_id = {p.member: p for p in self.processes.values()}
        members = [self.member(p) for p in self.processes.values()]
        catalogue = SubTopologyNumbering([(m.id, self.written(by_id[m.id], m)) for m in members])
        generation = self.generation + 1
        plans = assign(catalogue.members(), generation, self.policy)
        shared = catalogue.shared(plans)
        assignments = catalogue.assignments(plans, shared)
        expected = assign(members, generation, self.policy)
        for member, plan in expected.items():
            process = by_id[member]
            received = decode_plan(assignments[member], self.parts(process))
            assert_same(received, plan, process)
            self.shared[process.name] = received.shared
        self.rebalance()
        for process in self.processes.values():
            if not self.shared[process.name]:
                process.memory = SharedState()


def assert_same(received: ReceivedAssignment, plan: MemberAssignment, process: Process) -> None:
    def known(task: TaskId) -> bool:
        return task.subtopology in process.knows

    got = received.plan
    assert got.active == plan.active
    assert got.standby == plan.standby
    assert got.warming == plan.warming
    assert got.promised == plan.promised
    assert got.fence == plan.fence
    assert got.pending == plan.pending
    assert got.owners == {task: plan.owners[task] for task in plan.active}
    assert got.waiting == plan.waiting
    assert got.memory.generation == plan.memory.generation
    assert got.memory.weights == {t: weight for t, weight in plan.memory.weights.items() if t in plan.active}
    assert received.process == process.own.process
    if received.shared:
        assert shared_state_of(decode_shared_state(received.shared), {f"part-{n}": n for n in range(9)}) == plan.memory
    assert got.orphans == {task for task in plan.orphans if known(task)}


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=20),
    st.integers(0, 1),
    st.sampled_from((1, 2, 5)),
)
@examples(150)
def test_an_assignment_over_the_wire_is_the_assignment(
    shape: list[int], history: list[tuple[str, int]], standbys: int, holders: int
) -> None:
    """However few members store the group's memory, transactions of dead members are fenced: checked by the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member_metadata, "HOLDERS", holders)
        over_the_wire(shape, history, standbys)


def over_the_wire(shape: list[int], history: list[tuple[str, int]], standbys: int) -> None:
    group = Wired(AssignmentPolicy(standbys=standbys))
    knows = versions(*shape)
    group.start(knows)
    group.start(knows)
    group.over_the_wire()
    for step in history:
        play(group, knows, [("open", 0), step] if step[0] not in ("rebalance", "cut") else [("open", 0)])
        if group.processes:
            group.over_the_wire()


def test_partitions_read_are_written_where_kafkas_tools_look() -> None:
    parts = (SubTopologyInfo(3, "joined", "v1", {"wide": 3, "narrow": 2}),)
    report = SubscriptionInfo("p" * 32 + ".1", [SubTopologyData("joined", "v1", {"wide": 3, "narrow": 2})])
    subscribed = ResponseReader(subscription(parts, report, b""))
    assert (subscribed.int16(), [subscribed.string() for _ in subscribed.count()]) == (0, ["narrow", "wide"])
    catalogue = SubTopologyNumbering([("m", subscription(parts, report, b""))])
    plans = assign(catalogue.members(), 1)
    data = catalogue.assignments(plans, catalogue.shared(plans))["m"]
    assigned = ResponseReader(data)
    assert assigned.int16() == 0
    read = {assigned.string(): [assigned.int32() for _ in assigned.count()] for _ in assigned.count()}
    assert read == {"narrow": [0, 1], "wide": [0, 1, 2]}
    assert decode_plan(data, parts).plan.active == {TaskId(3, 0), TaskId(3, 1), TaskId(3, 2)}


def test_a_memory_with_holes() -> None:
    memory = SharedState(
        7, {TaskId(0, 5): ("p", "q"), TaskId(1, 2): ("", "q")}, {0: "v"}, {TaskId(1, 0): 3}, {TaskId(0, 5): 8}
    )
    shared = encode_shared_state(memory, ["a", "b"])
    filled = {TaskId(0, n): ("",) for n in range(5)} | {TaskId(1, n): ("",) for n in range(2)}
    read = shared_state_of(decode_shared_state(shared), {"a": 0, "b": 1})
    assert read == SharedState(7, {**filled, **memory.owners}, memory.running, memory.weights, memory.sizes)
    other = shared_state_of(decode_shared_state(shared), {"b": 4})
    assert other == SharedState(
        7, {TaskId(4, 2): ("", "q"), TaskId(4, 0): ("",), TaskId(4, 1): ("",)}, {}, {TaskId(4, 0): 3}
    )


def test_the_envelope_of_another_format_is_refused() -> None:
    data = RequestWriter().int16(0).int32(0).bytes(b"\x93\x09\xc4\x00\xc4\x00").done()
    with pytest.raises(Fatal, match="format 9"):
        SubTopologyNumbering([("m", data)])


@pytest.mark.parametrize("data", [b"", b"\x93\x02\xc4\x01x\xc4\x00", b"nonsense"])
def test_a_member_that_is_no_tidemill_process(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        SubTopologyNumbering([("m", RequestWriter().int16(0).int32(0).bytes(data).done())])


LIMIT = 1_048_588
"""The largest record that a broker takes by default: a group's members and their assignments are one."""


def size_of_a_group(members: int, parts: int, partitions: int, standbys: int, generations: int = 4) -> int:
    """The largest record of a realistic group: with weights, sizes, lags, addresses and former tasks."""
    chance = random.Random(1)
    names = [f"my-application-orders-enriched-by-customer-{number}-repartition" for number in range(parts)]
    cut = tuple(
        SubTopologyInfo(
            n, name, f"{n:016x}", {name: partitions}, True, frozenset({name.replace("repartition", "changelog")})
        )
        for n, name in enumerate(names)
    )
    order = {n: n for n in range(parts)}
    ids = [f"tidemill-my-application-{uuid.UUID(int=chance.getrandbits(128))}" for _ in range(members)]
    processes = [f"{chance.getrandbits(128):032x}.1" for _ in ids]
    plans, shared, ever = [MemberAssignment() for _ in ids], [b"" for _ in ids], [set[TaskId]() for _ in ids]
    worst = 0
    for generation in range(1, generations + 1):
        told: list[tuple[str, bytes]] = []
        for number, plan in enumerate(plans):
            lags = {task: chance.randrange(10**7) for task in ever[number] - plan.active}
            report = SubscriptionInfo(
                process=processes[number],
                parts=subtopology_data(cut),
                peer=f"10.0.{number}.7:{chance.randrange(30_000, 60_000)}",
                node=f"worker-node-{number}",
                generation=generation - 1,
                turn=generation,
                owned=numbered(plan.active, order),
                standby=numbered(plan.standby, order),
                warming=numbered(plan.warming, order),
                lags=figures(rounded_lags(lags, 10_000), order),
                weights=figures({task: coarse(chance.randrange(10_000)) for task in plan.active}, order),
                sizes=figures({task: coarse(chance.randrange(1 << 34)) for task in plan.active}, order),
            )
            told.append((ids[number], subscription(cut, report, shared[number])))
        led = perform_assignment(
            JoinGroupResponse(0, generation, ids[0], ids[0], told), AssignmentPolicy(standbys=standbys), cut
        )
        worst = max(worst, led.size)
        for number, member in enumerate(ids):
            received = decode_plan(led.assignments[member], cut)
            plans[number], shared[number] = received.plan, received.shared
            ever[number] |= plans[number].active | plans[number].standby
    return worst


@pytest.mark.slow
def test_a_hundred_members_with_two_thousand_tasks_and_copies_of_them_fit_into_half_a_record() -> None:
    size = size_of_a_group(members=100, parts=10, partitions=200, standbys=1)
    assert size < LIMIT // 2, f"{size:,} bytes"


def test_the_size_of_a_plan_counts_all_that_kafka_keeps_of_a_group() -> None:
    cut = (SubTopologyInfo(0, "in", "v1", {"in": 2}),)
    told = [(f"m{n}", subscription(cut, SubscriptionInfo(f"{n:032x}.1", subtopology_data(cut)), b"")) for n in range(2)]
    led = perform_assignment(JoinGroupResponse(0, 1, "m0", "m0", told), AssignmentPolicy(), cut)
    assert led.size > sum(len(data) for _, data in told) + sum(map(len, led.assignments.values()))


def test_a_plan_that_is_too_large_is_reported_with_its_size_and_the_setting(caplog: pytest.LogCaptureFixture) -> None:
    led = GroupAssignment(b"", {"m1": b"", "m2": b""}, 1_200_000)
    assert "1,200,000 bytes for 2 members" in str(too_large("app", led))
    assert all("max.message.bytes" in str(too_large("app", one)) for one in (led, None))
    warn_of_size("app", replace(led, size=LIMIT // 2))
    assert not caplog.records
    warn_of_size("app", replace(led, size=LIMIT - 1))
    assert "max.message.bytes" in caplog.text


def test_a_member_receives_only_the_members_that_it_monitors() -> None:
    cut = (SubTopologyInfo(0, "in", "v1", {"in": 2}),)
    told = [
        (f"m{n:02}", subscription(cut, SubscriptionInfo(f"{n:032x}.1", subtopology_data(cut), f"h:{n}"), b""))
        for n in range(30)
    ]
    led = perform_assignment(JoinGroupResponse(0, 1, "m07", "m07", told), AssignmentPolicy(), cut)
    received = {member: decode_plan(data, cut) for member, data in led.assignments.items()}
    assert received["m29"].seats[0] == MemberInfo("m00", f"{0:032x}.1", "h:0")
    assert {len(one.seats) for one in received.values()} == {8}
    assert {one.members for one in received.values()} == {30}
    holders = {member for member, one in received.items() if one.shared}
    assert len(holders) == member_metadata.HOLDERS
    assert "m07" in holders, "the leader is one of those that keep what the group must remember"


def test_what_must_be_remembered_is_kept_on_different_machines() -> None:
    cut = (SubTopologyInfo(0, "in", "v1", {"in": 2}),)
    reports = [SubscriptionInfo(f"{n:032x}.1", subtopology_data(cut), node=f"node-{n // 6}") for n in range(18)]
    told = [(f"m{n:02}", subscription(cut, report, b"")) for n, report in enumerate(reports)]
    led = perform_assignment(JoinGroupResponse(0, 1, "m00", "m00", told), AssignmentPolicy(), cut)
    nodes = [reports[int(m[1:])].node for m, data in led.assignments.items() if decode_plan(data, cut).shared]
    assert Counter(nodes) == {"node-0": 2, "node-1": 2, "node-2": 1}


def test_a_plan_for_another_version_of_the_program_gives_nothing() -> None:
    """A static member that was restarted with another program gets the plan of its former process."""
    old = (SubTopologyInfo(0, "a", "v1", {"a": 2}), SubTopologyInfo(1, "b", "v1", {"b": 2}))
    new = (SubTopologyInfo(0, "b", "v1", {"b": 2}), SubTopologyInfo(1, "a", "v2", {"a": 2}))
    led = perform_assignment(
        JoinGroupResponse(
            0, 1, "m", "m", [("m", subscription(old, SubscriptionInfo("p", subtopology_data(old)), b""))]
        ),
        AssignmentPolicy(),
        old,
    )
    assert decode_plan(led.assignments["m"], old).plan.active == {TaskId(p, n) for p in (0, 1) for n in (0, 1)}
    received = decode_plan(led.assignments["m"], new)
    assert received.plan.active == {TaskId(0, 0), TaskId(0, 1)}
    assert received.process == "p"


def test_a_plan_says_what_waits_for_members_with_another_version_to_go() -> None:
    old, new = (
        (SubTopologyInfo(0, "a", "v1", {"a": 1, "b": 1}),),
        (SubTopologyInfo(4, "b", "v2", {"b": 1}), SubTopologyInfo(5, "c", "v2", {"c": 1})),
    )
    told = [
        (name, subscription(cut, SubscriptionInfo(name, subtopology_data(cut)), b""))
        for name, cut in (("o", old), ("n", new))
    ]
    first = perform_assignment(JoinGroupResponse(0, 1, "o", "o", told[:1]), AssignmentPolicy(), old)
    kept = decode_plan(first.assignments["o"], old)
    told[0] = (
        "o",
        subscription(old, SubscriptionInfo("o", subtopology_data(old), generation=1, owned={0: [0]}), kept.shared),
    )
    led = perform_assignment(JoinGroupResponse(0, 2, "o", "o", told), AssignmentPolicy(), old)
    plan = decode_plan(led.assignments["n"], new).plan
    assert plan.waiting == {4}
    assert plan.active == {TaskId(5, 0)}


def test_a_topic_that_is_no_longer_read_is_named_once_unless_another_step_reads_it() -> None:
    one = (
        SubTopologyInfo(0, "a", "v1", {"a": 1}),
        SubTopologyInfo(1, "b", "v1", {"b": 1}),
        SubTopologyInfo(2, "c", "v1", {"c": 1}),
    )
    other = (SubTopologyInfo(0, "a", "v2", {"a": 1, "b": 1}),)
    first = perform_assignment(
        JoinGroupResponse(
            0, 1, "o", "o", [("o", subscription(one, SubscriptionInfo("o", subtopology_data(one)), b""))]
        ),
        AssignmentPolicy(),
        one,
    )
    shared, notes = decode_plan(first.assignments["o"], one).shared, list[str]()
    for generation in (2, 3):
        told = [("n", subscription(other, SubscriptionInfo("n", subtopology_data(other)), shared))]
        led = perform_assignment(JoinGroupResponse(0, generation, "n", "n", told), AssignmentPolicy(), other)
        received = decode_plan(led.assignments["n"], other)
        shared, notes = received.shared, [*notes, received.plan.note]
    assert notes == ["no living member can run the tasks that read c (0)", ""]
