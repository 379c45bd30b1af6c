"""Tests of rolling upgrades: versions of a program run in parallel unless they read the same partition."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.assignment.test_assignment import STEPS
from tests.support.examples import examples
from tests.support.group_model import Group
from tidemill.engine.assignment.assignment import FORGOTTEN, AssignmentPolicy
from tidemill.engine.assignment.rolling_upgrade import SubTopologyVersion, running_versions
from tidemill.engine.ids import TaskId

TOPICS = "abcd"
Knows = dict[int, SubTopologyVersion]


@st.composite
def programs(draw: st.DrawFn) -> Knows:
    """Draw topics, each read by one sub-topology, which is named after one of them and may have a store."""
    topics = draw(st.lists(st.sampled_from(TOPICS), min_size=1, unique=True))
    cuts = draw(st.lists(st.booleans(), min_size=len(topics), max_size=len(topics)))
    stores = draw(st.lists(st.sampled_from("uvw"), unique=True))
    parts: list[list[str]] = []
    for topic, cut in zip(topics, cuts, strict=True):
        if cut or not parts:
            parts.append([])
        parts[-1].append(topic)
    found: Knows = {}
    for reads in parts:
        kept = [stores.pop()] if stores and draw(st.booleans()) else []
        text = f"{''.join(reads)}{''.join(kept)}{draw(st.integers(0, 1))}"
        found[TOPICS.index(reads[0])] = SubTopologyVersion(
            text, 2, bool(kept), frozenset({*reads, *(f"{s}-log" for s in kept)})
        )
    return found


def exclude(one: tuple[int, SubTopologyVersion], other: tuple[int, SubTopologyVersion]) -> bool:
    return one[0] == other[0] or not one[1].holds.isdisjoint(other[1].holds)


def variants(known: list[Knows]) -> dict[tuple[int, str], tuple[int, SubTopologyVersion]]:
    return {(part, version.hash): (part, version) for one in known for part, version in one.items()}


@given(st.lists(programs(), min_size=1, max_size=5), st.data())
@examples(400)
def test_what_runs_excludes_nothing_that_runs_and_everything_that_does_not(
    known: list[Knows], data: st.DataObject
) -> None:
    there = variants(known)
    before = data.draw(st.lists(st.sampled_from([*sorted(there), (0, "gone")]), unique=True))
    found = running_versions(known, before)
    assert running_versions(known[::-1], before) == found
    runs = [there[part, text] for part, text in found.items()]
    for one in there.values():
        excluding = [other for other in runs if exclude(one, other)]
        assert excluding == [one] if found.get(one[0]) == one[1].hash else excluding
    kept: list[tuple[int, SubTopologyVersion]] = []
    for variant in before:
        if variant in there and not any(exclude(there[variant], other) for other in kept):
            kept.append(there[variant])
            assert found[variant[0]] == variant[1], "it ran, and a member still has it"


@given(
    st.lists(programs(), min_size=2, max_size=3),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=30),
    st.integers(0, 1),
)
@examples(300)
def test_no_partition_is_read_by_two_tasks_in_any_history_of_programs(
    choice: list[Knows], history: list[tuple[str, int]], standbys: int
) -> None:
    """The model of the group checks it in each generation."""
    group = Group(AssignmentPolicy(standbys=standbys))
    for number, (step, which) in enumerate([("start", 0), ("quiet", 0), *history]):
        there = list(group.processes.values())
        if step == "start" and len(there) < 5:
            group.start(choice[which % len(choice)], f"n{number}")
        elif step == "rebalance" and there:
            group.rebalance(unreached=[one for i, one in enumerate(there) if which >> i & 1])
        elif step == "quiet" and there:
            quiet(group)
        elif step in ("kill", "throw", "release one", "open one") and there:
            act = {
                "kill": group.kill,
                "throw": group.throw_out,
                "release one": group.release,
                "open one": group.finish_opening,
            }
            act[step](there[which % len(there)])
    if not group.processes:
        return
    quiet(group)
    group.settle(6)
    known = [process.knows for process in group.processes.values()]
    runs = {
        (task.subtopology, process.knows[task.subtopology].hash)
        for process in group.processes.values()
        for task in process.tasks
    }
    there = variants(known)
    for variant, one in there.items():
        assert variant in runs or any(exclude(one, there[other]) for other in runs), (
            f"{variant} is not blocked by another version"
        )
    owned = [task for process in group.processes.values() for task in process.tasks]
    assert len(owned) == len(set(owned)) == 2 * len(runs)
    assert set(group.open).isdisjoint(owned), "the open transaction of a dead process was never fenced"


def quiet(group: Group) -> None:
    group.release_all()
    group.open_all()
    group.warm_all()
    group.rebalance()


def test_a_topic_that_moves_to_another_step_is_read_by_the_old_one_until_its_last_member_leaves() -> None:
    old: Knows = {0: SubTopologyVersion("ab", 2, holds=frozenset("ab"))}
    new: Knows = {
        0: SubTopologyVersion("a", 2, holds=frozenset("a")),
        1: SubTopologyVersion("b", 2, holds=frozenset("b")),
    }
    group = Group(AssignmentPolicy())
    veterans = [group.start(old), group.start(old)]
    group.rebalance()
    group.settle()
    for veteran in veterans:
        group.start(new)
        group.rebalance()
        group.settle(5)
        assert hashes(group) == {"ab"}
        assert plans_that_wait(group) == {frozenset({0, 1}), frozenset()}
        group.release(veteran)
        group.leave(veteran)
        group.rebalance()
    assert all(FORGOTTEN in chain for one in group.processes.values() for chain in one.own.opening.values())
    group.settle(5)
    assert hashes(group) == {"a", "b"}
    assert {task for one in group.processes.values() for task in one.tasks} == {
        TaskId(part, number) for part in (0, 1) for number in (0, 1)
    }


def test_a_store_that_moves_to_another_step_is_written_by_the_old_one_until_its_last_member_leaves() -> None:
    """As when a repartition is put before a count: its new part reads another topic and writes the same changelog."""
    old: Knows = {0: SubTopologyVersion("counts", 1, holds=frozenset({"in", "n-changelog"}))}
    new: Knows = {
        0: SubTopologyVersion("regroups", 1, holds=frozenset({"in"})),
        1: SubTopologyVersion("counts", 1, holds=frozenset({"again", "n-changelog"})),
    }
    group = Group(AssignmentPolicy())
    veteran = group.start(old)
    group.rebalance()
    group.settle()
    group.start(new)
    group.rebalance()
    group.settle(5)
    assert {task for one in group.processes.values() for task in one.tasks} == {TaskId(0, 0)}
    group.leave(veteran)
    group.rebalance()
    assert {task for one in group.processes.values() for task in one.tasks} == {TaskId(0, 0), TaskId(1, 0)}


def hashes(group: Group) -> set[str]:
    return {one.knows[task.subtopology].hash for one in group.processes.values() for task in one.tasks}


def plans_that_wait(group: Group) -> set[frozenset[int]]:
    return {one.own.plan.waiting for one in group.processes.values()}


def test_members_with_nothing_in_common_run_in_parallel() -> None:
    known: list[Mapping[int, SubTopologyVersion]] = [
        {0: SubTopologyVersion("x", 1, holds=frozenset("a"))},
        {1: SubTopologyVersion("y", 1, holds=frozenset("b"))},
    ]
    assert running_versions(known, []) == {0: "x", 1: "y"}


def test_of_new_versions_the_one_runs_that_most_members_have() -> None:
    one, other = {0: SubTopologyVersion("x", 1)}, {0: SubTopologyVersion("y", 1)}
    assert running_versions([one, other, other], []) == {0: "y"}
    assert running_versions([one, other, other], [(0, "x")]) == {0: "x"}
