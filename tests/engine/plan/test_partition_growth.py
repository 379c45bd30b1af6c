"""Tests of programs whose topics have a different number of partitions than before."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.plan.test_plan import Draft
from tests.support.examples import examples
from tidemill.engine.group.metadata.subtopology_info import subtopology_infos
from tidemill.engine.plan.partition_growth import built_before, built_now, matches_of, refuse_misfits, replanned
from tidemill.engine.plan.plan import Partitioned, Plan, partition, plan
from tidemill.operators.errors import TopologyError
from tidemill.operators.graph.topology import Topology


def cut(draft: Draft) -> Partitioned:
    return partition(Topology.of(draft.nodes))


def begun(draft: Draft, counts: Mapping[str, int]) -> tuple[Partitioned, Plan, dict[str, int]]:
    """A running program, and all its topics."""
    partitioned = cut(draft)
    running = plan(partitioned, "app", counts, matches_of(partitioned, "app", counts))
    return partitioned, running, {**counts, **{topic.name: topic.partitions for topic in running.internal}}


def looked(partitioned: Partitioned, running: Plan, counts: Mapping[str, int]) -> Plan:
    """Return the result of a check of the topics during the run."""
    return replanned(partitioned, running, counts, matches_of(partitioned, "app", counts))


def started(partitioned: Partitioned, counts: Mapping[str, int]) -> Plan:
    """Return the result of a start."""
    matches = matches_of(partitioned, "app", counts)
    refuse_misfits(built_before(partitioned, "app", counts, matches), counts)
    return plan(partitioned, "app", counts, matches)


def stateless() -> Draft:
    draft = Draft()
    draft.sink("out", draft.step("filter", draft.source("in")))
    return draft


def stateful() -> Draft:
    draft = Draft()
    draft.sink("out", draft.step("count", draft.source("in"), store=True))
    return draft


def regrouped() -> Draft:
    draft = Draft()
    draft.sink("out", draft.step("count", draft.again("by", draft.source("in")), store=True))
    return draft


def test_tasks_without_state_become_more() -> None:
    partitioned, running, there = begun(stateless(), {"in": 2})
    grown = looked(partitioned, running, {**there, "in": 5})
    assert len(grown.tasks()) == 5
    assert set(running.tasks()) < set(grown.tasks())
    assert all(running.inputs(task) == grown.inputs(task) for task in running.tasks()), "those that run do not notice"
    assert [subtopology.hash for subtopology in subtopology_infos(running)] == [
        subtopology.hash for subtopology in subtopology_infos(grown)
    ]


def test_without_changes_the_plan_is_the_same() -> None:
    for draft in (stateless(), stateful(), regrouped()):
        partitioned, running, there = begun(draft, {"in": 3})
        assert looked(partitioned, running, there) is running
        assert looked(partitioned, running, {}) is running, "a topic that is not seen for once is as it was"


def test_state_that_reads_the_topic_itself_is_refused_during_the_run_and_at_the_start() -> None:
    partitioned, running, there = begun(stateful(), {"in": 4})
    for attempt in (
        lambda: looked(partitioned, running, {**there, "in": 6}),
        lambda: started(partitioned, there | {"in": 6}),
    ):
        with pytest.raises(TopologyError) as caught:
            attempt()
        said = str(caught.value)
        assert "topic 'in' has 6 partitions now" in said
        assert "the state of step 'count' was built with 4" in said
        assert "`tidemill reset`" in said


def test_behind_a_repartition_nothing_has_to_change() -> None:
    """Its topic keeps the number that state was built with; only what is before it has more tasks."""
    partitioned, running, there = begun(regrouped(), {"in": 4})
    for grown in (looked(partitioned, running, {**there, "in": 9}), started(partitioned, {**there, "in": 9})):
        assert [subtopology.partitions for subtopology in grown.subtopologies] == [9, 4]
        assert grown.internal == running.internal


def test_a_repartition_topic_that_was_changed_by_hand_is_refused() -> None:
    partitioned, running, there = begun(regrouped(), {"in": 4})
    there["app-by-repartition"] = 6
    for attempt in (lambda: looked(partitioned, running, there), lambda: started(partitioned, there)):
        with pytest.raises(TopologyError, match=r"topic 'app-by-repartition' has 6 partitions now.* built with 4"):
            attempt()


def test_a_repartition_topic_that_would_have_to_match_a_grown_topic_is_refused() -> None:
    draft = Draft()
    draft.step("join", draft.source("table"), draft.again("by", draft.source("in")), store=True)
    partitioned, running, there = begun(draft, {"table": 4, "in": 3})
    assert {subtopology.partitions for subtopology in running.subtopologies} == {3, 4}
    assert len(looked(partitioned, running, {**there, "in": 7}).tasks()) == 11
    for attempt in (
        lambda: looked(partitioned, running, {**there, "table": 6}),
        lambda: started(partitioned, there | {"table": 6}),
    ):
        with pytest.raises(TopologyError, match=r"topic 'table' has 6 partitions now.*'join' was built with 4"):
            attempt()


def test_topics_partitioned_alike_may_not_even_grow_together() -> None:
    draft = Draft()
    draft.step("join", draft.source("a"), draft.source("b"), store=True)
    partitioned, running, there = begun(draft, {"a": 2, "b": 2})
    for more in ({"a": 3}, {"b": 3}, {"a": 3, "b": 3}):
        with pytest.raises(TopologyError, match=r"has 3 partitions now.*was built with 2"):
            looked(partitioned, running, {**there, **more})
        with pytest.raises(TopologyError, match=r"has 3 partitions now.*was built with 2"):
            started(partitioned, {**there, **more})


@pytest.mark.parametrize("draft", [stateless(), stateful(), regrouped()])
def test_fewer_partitions_mean_another_topic(draft: Draft) -> None:
    partitioned, running, there = begun(draft, {"in": 4})
    with pytest.raises(TopologyError, match=r"has 3 partitions now and had 4 before.*deleted and created again"):
        looked(partitioned, running, {**there, "in": 3})


def test_fewer_partitions_than_state_has_are_noticed_at_the_start() -> None:
    partitioned, _, there = begun(stateful(), {"in": 4})
    with pytest.raises(TopologyError, match=r"has 3 partitions now.*built with 4.*deleted and created again"):
        started(partitioned, {**there, "in": 3})


def test_topics_that_begin_to_match_a_pattern_are_read() -> None:
    draft = Draft()
    draft.sink("out", draft.step("filter", draft.source(pattern="log-.*")))
    partitioned, running, there = begun(draft, {"log-m": 2, "other": 7})
    names = [subtopology.name for subtopology in subtopology_infos(running)]
    grown = looked(partitioned, running, {**there, "log-a": 3, "log-m": 2, "-log-": 9, "__log-x": 1})
    assert grown.inputs(running.tasks()[0]) == (("log-a", 0), ("log-m", 0))
    assert grown.inputs(grown.tasks()[2]) == (("log-a", 2),)
    assert [subtopology.name for subtopology in subtopology_infos(grown)] == names, (
        "to the group it is the same sub-topology"
    )
    assert [subtopology.hash for subtopology in subtopology_infos(grown)] == [
        subtopology.hash for subtopology in subtopology_infos(running)
    ]
    assert looked(partitioned, grown, {**there, "log-m": 2}) is grown, "a topic that is not seen for once is as it was"


def test_a_pattern_that_matches_nothing_at_first() -> None:
    draft = Draft()
    draft.step("count", draft.again("by", draft.source(pattern="log-.*")), store=True)
    partitioned, running, there = begun(draft, {"other": 1})
    assert running.tasks() == ()
    assert running.internal == (), "there is no number of partitions to make it with yet"
    grown = looked(partitioned, running, {**there, "log-a": 3})
    assert [subtopology.partitions for subtopology in grown.subtopologies] == [3, 3]
    assert {topic.name: topic.partitions for topic in grown.internal} == {
        "app-by-repartition": 3,
        "app-count-changelog": 3,
    }


def test_a_new_topic_of_a_pattern_before_state_must_have_the_number_of_the_state() -> None:
    draft = Draft()
    draft.step("count", draft.source(pattern="log-.*"), store=True)
    partitioned, running, there = begun(draft, {"log-a": 2})
    grown = looked(partitioned, running, {**there, "log-b": 2})
    assert grown.inputs(running.tasks()[1]) == (("log-a", 1), ("log-b", 1))
    with pytest.raises(TopologyError, match=r"topic 'log-b' has 3 partitions now.*'count' was built with 2"):
        looked(partitioned, running, {**there, "log-b": 3})


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3))))
@examples(300)
def test_whatever_grows_state_keeps_its_number_of_partitions(
    data: st.DataObject, a: int, b: int, growth: list[tuple[str, int]]
) -> None:
    """Two inputs, any of a few shapes, partitions added one time after the other: a start agrees with a running process
    on every step, and no part with state ever has another number of tasks."""
    draft = Draft()
    first, second = draft.source("a"), draft.source("b")
    last = draft.step("plain", data.draw(st.sampled_from([first, second])))
    if data.draw(st.booleans()):
        last = draft.again("by", last, data.draw(st.sampled_from([None, None, 3])))
    last = draft.step("count", last, store=True)
    if data.draw(st.booleans()):
        draft.step("total", draft.again("again", last), store=True)
    partitioned, running, there = begun(draft, {"a": a, "b": b})
    stateful_before = {
        subtopology.id: subtopology.partitions for subtopology in running.subtopologies if subtopology.stores
    }
    for topic, more in growth:
        there[topic] += more
        try:
            grown = looked(partitioned, running, there)
        except TopologyError:
            with pytest.raises(TopologyError):
                started(partitioned, there)
            return
        assert started(partitioned, there) == grown
        assert {
            subtopology.id: subtopology.partitions for subtopology in grown.subtopologies if subtopology.stores
        } == stateful_before
        assert all(grown.inputs(task)[: len(running.inputs(task))] == running.inputs(task) for task in running.tasks())
        assert built_now(partitioned, grown, {}) == built_now(partitioned, running, {})
        running = grown
