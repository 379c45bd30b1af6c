"""Tests of the planner: sub-topologies, numbers of tasks, internal topics, and refused programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.operators.errors import TopologyError
from tidemill.operators.graph.topology import Input, Node, OperatorState, Repartition, Sink, Source, Topology
from tidemill.operators.joins import steps
from tidemill.state.cache import Codec
from tidemill.state.store import StoreSpec


def never(_: Any) -> Any:
    raise AssertionError("planning builds nothing")


class Draft:
    """Builds graphs concisely."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def _add(self, kind: type[Node], name: str, inputs: tuple[int, ...], **fields: Any) -> int:
        edges = tuple(Input(node) for node in inputs)
        number, word = len(self.nodes), kind.__name__.lower()
        self.nodes.append(kind(id=number, name=name, kind=word, inputs=edges, build=never, **fields))
        return len(self.nodes) - 1

    def source(self, *topics: str, pattern: str | None = None) -> int:
        return self._add(Source, "-".join(topics) or "by-pattern", (), topics=topics, pattern=pattern)

    def step(self, name: str, *inputs: int, store: bool = False, changelog: bool = True) -> int:
        codec = Codec(never, never, never, never)
        stores = (OperatorState(StoreSpec(name, changelog=changelog), codec),) if store else ()
        return self._add(Node, name, inputs, stores=stores, keyed=store)

    def again(self, name: str, source: int, partitions: int | None = None) -> int:
        return self._add(Repartition, name, (source,), partitions=partitions)

    def sink(self, name: str, source: int) -> int:
        return self._add(Sink, name, (source,), topic=name)

    def plan(self, counts: Mapping[str, int], matches: Mapping[str, tuple[str, ...]] | None = None) -> Plan:
        return plan(partition(Topology.of(self.nodes)), "app", counts, matches)


def test_a_chain_is_one_part_with_a_task_a_partition() -> None:
    draft = Draft()
    draft.sink("out", draft.step("count", draft.step("filter", draft.source("in")), store=True))
    planned = draft.plan({"in": 3})
    assert planned.tasks() == (TaskId(0, 0), TaskId(0, 1), TaskId(0, 2))
    assert [node.name for node in planned.subtopologies[0].nodes] == ["filter", "count", "out"]
    assert [(t.name, t.kind, t.partitions) for t in planned.internal] == [("app-count-changelog", "changelog", 3)]
    assert planned.subtopologies[0].task_inputs(2) == (("in", 2),)


def test_a_store_without_changelog_has_no_topic() -> None:
    draft = Draft()
    draft.step("count", draft.source("in"), store=True, changelog=False)
    assert draft.plan({"in": 1}).internal == ()


def test_a_repartition_cuts_the_graph_and_gets_as_many_partitions_as_its_inputs() -> None:
    draft = Draft()
    draft.step("count", draft.again("count", draft.source("in")), store=True)
    planned = draft.plan({"in": 5})
    assert [[topic for topic, _ in subtopology.inputs] for subtopology in planned.subtopologies] == [
        ["in"],
        ["app-count-repartition"],
    ]
    assert planned.subtopologies[0].writes == {1: "app-count-repartition"}
    assert {t.name: t.partitions for t in planned.internal} == {
        "app-count-repartition": 5,
        "app-count-changelog": 5,
    }


def test_a_repartition_joined_with_a_topic_takes_its_width() -> None:
    draft = Draft()
    moved = draft.again("moved", draft.source("a"))
    draft.step("join", moved, draft.source("b"), store=True)
    planned = draft.plan({"a": 2, "b": 7})
    assert {t.name: t.partitions for t in planned.internal}["app-moved-repartition"] == 7


def test_chained_repartitions_get_the_widest_upstream() -> None:
    draft = Draft()
    merged = draft.step("merge", draft.source("a"), draft.source("b"))
    second = draft.again("second", draft.step("map", draft.again("first", merged)))
    draft.step("count", second, store=True)
    widths = {t.name: t.partitions for t in draft.plan({"a": 2, "b": 6}).internal}
    assert widths["app-first-repartition"] == widths["app-second-repartition"] == 6


def test_an_explicit_number_of_partitions_holds() -> None:
    draft = Draft()
    draft.step("count", draft.again("wide", draft.source("a"), partitions=9), store=True)
    assert draft.plan({"a": 2}).subtopologies[1].partitions == 9


def test_keyed_steps_over_unlike_topics_are_refused_with_names_counts_and_the_fix() -> None:
    draft = Draft()
    draft.step("join", draft.source("a"), draft.source("b"), store=True)
    with pytest.raises(TopologyError) as failure:
        draft.plan({"a": 2, "b": 3})
    for subtopology in ("'join'", "'a'", "'b'", "2 partitions", "has 3", ".repartition(partitions=3)"):
        assert subtopology in str(failure.value)


def test_merging_unlike_topics_without_keys_is_fine() -> None:
    draft = Draft()
    draft.sink("out", draft.step("merge", draft.source("a"), draft.source("b")))
    planned = draft.plan({"a": 2, "b": 3})
    assert planned.subtopologies[0].partitions == 3
    assert planned.subtopologies[0].task_inputs(2) == (("b", 2),)


def test_unconnected_chains_are_parts_of_their_own() -> None:
    draft = Draft()
    draft.sink("x", draft.source("a"))
    draft.sink("y", draft.source("b"))
    assert [subtopology.partitions for subtopology in draft.plan({"a": 1, "b": 2}).subtopologies] == [1, 2]


def test_a_topic_read_twice_is_refused() -> None:
    draft = Draft()
    draft.source("a")
    draft.nodes.append(Source(id=1, name="again", kind="source", inputs=(), build=never, topics=("a",)))
    with pytest.raises(TopologyError, match="read by two sources"):
        draft.plan({"a": 1})


def test_a_pattern_reads_what_it_matches_and_may_not_overlap() -> None:
    draft = Draft()
    draft.sink("out", draft.source(pattern="log-.*"))
    planned = draft.plan({"log-a": 1, "log-b": 2}, {"log-.*": ("log-a", "log-b")})
    assert planned.topics == ("log-a", "log-b")
    assert planned.subtopologies[0].partitions == 2
    draft.source("log-a")
    with pytest.raises(TopologyError, match="narrow the pattern"):
        draft.plan({"log-a": 1, "log-b": 2}, {"log-.*": ("log-a", "log-b")})


def test_the_fingerprint_follows_the_steps() -> None:
    one, same, other = Draft(), Draft(), Draft()
    for draft, name in ((one, "count"), (same, "count"), (other, "total")):
        draft.step(name, draft.source("in"), store=True)
    prints = [draft.plan({"in": 1}).subtopologies[0].fingerprint for draft in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_the_fingerprint_tells_where_a_join_finds_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without changelogs, whose names are in it."""

    def fingerprint() -> str:
        app = tm.App("app")
        app.stream("in").join(app.table("rows"), lambda value, row: row)
        return (
            plan(partition(app.topology()), "app", {"in": 1, "rows": 1}, changelogs=False).subtopologies[0].fingerprint
        )

    reading = fingerprint()
    monkeypatch.setattr(steps, "stored_rows", lambda *_: None)
    assert fingerprint() != reading


def test_a_plan_is_the_same_each_time() -> None:
    draft = Draft()
    draft.step("count", draft.again("by", draft.source("in")), store=True)
    assert draft.plan({"in": 4}) == draft.plan({"in": 4})


def test_what_feeds_a_window_behind_a_repartition_goes_side_by_side_within_its_grace() -> None:
    app = tm.App("app")
    events = app.stream("events")
    by_kind = events.group_by(str)
    by_kind.window(tm.tumbling("1m", grace="10s")).count().named("a")
    by_kind.window(tm.tumbling("1m", grace="3s")).count().named("b")
    app.stream("others").group_by(str).count().named("c")
    planned = plan(partition(app.topology()), "app", {"events": 2, "others": 2})
    found = {subtopology.inputs[0][0]: subtopology.alignment for subtopology in planned.subtopologies}
    assert found["events"] == 3_000
    assert found["others"] is None
    assert found["app-a-repartition"] is None
