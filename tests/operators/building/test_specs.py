"""Tests of step specifications: they are plain data, and all their fields reach the node."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import tidemill as tm
from tests.support.source_files import ROOT
from tidemill.operators.aggregates import fold
from tidemill.operators.aggregates.generated import define
from tidemill.operators.building.nodes import NODES
from tidemill.operators.building.sources import source
from tidemill.operators.building.specs import StepContext, StepSpec, StepStore
from tidemill.operators.building.stream_reference import Grouping, StreamReference
from tidemill.operators.building.topology_builder import TopologyBuilder
from tidemill.operators.errors import TopologyError
from tidemill.operators.graph.properties import StepProperties
from tidemill.operators.graph.topology import Node, StoreView
from tidemill.operators.record import Record
from tidemill.operators.stateless.stateless import Merge
from tidemill.operators.stores.entries import keyed_codec, serde_entry
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore

FOR_THE_BUILDER = {
    "operator",
    "asks",
    "on_commit",
    "combination",
    "rewrite",
    "by",
    "relays",
    "row_of",
    "default_name",
}
"""Fields of a specification from which the builder derives other things than a property of the node."""


def stored(suffix: str = "", **said: Any) -> StepStore:
    return StepStore(codec=keyed_codec(tm.utf8, *serde_entry(tm.utf8)), shape="words", suffix=suffix, **said)


def begun(**said: Any) -> StreamReference:
    return source(TopologyBuilder(), "in", tm.utf8, tm.utf8, None, "earliest", **said)


def last_node(reference: StreamReference) -> Node:
    return reference.builder.topology().nodes[-1]


def contexts(
    reference: StreamReference, spec: Callable[[Callable[[StepContext], Any]], StepSpec]
) -> tuple[Node, StepContext]:
    """The node of a step that is added at a flow, and the context that its operator is made from."""
    seen: list[StepContext] = []

    def operator(context: StepContext) -> Merge:
        seen.append(context)
        return Merge()

    node = last_node(reference.add(spec(operator)))
    node.build({state.spec.name: StateCache(MemoryStore(), state.spec.name, state.codec) for state in node.stores})
    return node, seen[0]


def specs(program: Callable[[tm.App], object]) -> list[StepSpec]:
    app = tm.App("t")
    program(app)
    return [step.spec for step in app._builder._steps]


@pytest.mark.parametrize("spec", NODES, ids=lambda kind: kind.__name__)
def test_a_field_of_a_specification_is_one_of_the_node_too(spec: type[StepSpec]) -> None:
    said = {field.name for field in fields(spec)} - FOR_THE_BUILDER
    assert said <= {field.name for field in fields(NODES[spec])}


def test_properties_of_a_specification_are_those_of_the_node() -> None:
    spec = StepSpec(
        kind="k",
        operator=lambda context: Merge(),
        ports=("", "late"),
        keyed=True,
        tagged=True,
        passive=(False,),
        calls=False,
        asynchronous=True,
        holds=False,
        passes_on=True,
        keeps=(tm.utf8,),
        keeps_keys=tm.utf8,
        gives=tm.utf8,
        disorder=1,
        in_order=True,
        behind=2,
        sends_by="time",
        combines=True,
    )
    node = last_node(begun().add(spec))
    for field in fields(StepProperties):
        assert getattr(spec, field.name) != field.default
        assert getattr(node, field.name) == getattr(spec, field.name)


def test_nodes_are_made_of_specifications_only() -> None:
    """In `nodes.py`, which takes the class of the node from a table."""
    names = {kind.__name__ for kind in NODES.values()}
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (*(ROOT / "operators").rglob("*.py"), *(ROOT / "engine").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    assert calls == []


def test_specifications_are_equal_if_they_say_the_same() -> None:
    def program(grace: str) -> Callable[[tm.App], object]:
        windows = tm.tumbling("1m", grace=grace)
        return lambda app: app.stream("a", key=tm.utf8).group_by_key().window(windows).count()

    assert specs(program("1s")) == specs(program("1s"))
    assert specs(program("1s")) != specs(program("2s"))


def test_a_specification_is_printed_without_functions() -> None:
    text = repr(StepSpec(kind="map", operator=lambda context: Merge(), stores=(stored("rows"),), behind=5))
    assert "kind='map'" in text
    assert "suffix='rows'" in text
    assert "behind=5" in text
    assert "function" not in text


def test_an_operator_finds_its_stores_by_suffix() -> None:
    stores = (stored(), stored("rows"), stored("old", own_name="archive", changelog=False))
    node, context = contexts(begun(), lambda operator: StepSpec(kind="k", operator=operator, stores=stores))
    assert [(state.spec.name, state.spec.changelog) for state in node.stores] == [
        ("in-k", True),
        ("in-k-rows", True),
        ("archive", False),
    ]
    assert {suffix: cache.name for suffix, cache in context.caches.items()} == {
        "": "in-k",
        "rows": "in-k-rows",
        "old": "archive",
    }
    assert context.cache is context.caches[""]


def test_side_outputs_have_the_ports_after_those_of_the_specification() -> None:
    reference = begun()
    after = reference.add(StepSpec(kind="k", operator=lambda context: Merge(), ports=("", "late")))
    after.step.sides += ["x", "y"]
    assert last_node(after).ports == ("", "late", "x", "y")


@pytest.mark.parametrize("watermark", [None, tm.bounded("5s")])
def test_the_view_of_a_store_depends_on_watermarks(watermark: Any) -> None:
    reference, views = begun(), (StoreView(), StoreView())
    reference.step.watermark = watermark
    stores = (stored("a", view=views[0], watermarked_view=views[1]), stored("b", view=views[0]))
    node, context = contexts(reference, lambda operator: StepSpec(kind="k", operator=operator, stores=stores))
    assert node.stores[0].view is views[watermark is not None]
    assert node.stores[1].view is views[0]
    assert context.watermarked == (watermark is not None)


@pytest.mark.parametrize(("asks", "asked"), [("new", False), ("old", True), ("same", True)])
def test_old_rows_are_requested_upstream(asks: Any, asked: bool) -> None:
    reference, seen = begun(), dict[str, StepContext]()

    def remember(context: StepContext) -> Merge:
        seen[context.name] = context
        return Merge()

    first = reference.add(StepSpec(kind="first", operator=remember))
    second = first.add(StepSpec(kind="second", operator=remember, asks=asks))
    third = second.add(StepSpec(kind="third", operator=remember, asks="old"))
    for node in third.builder.topology().nodes[1:]:
        node.build({})
    assert [(seen[f"in-{name}"].updates_in, seen[f"in-{name}"].updates_out) for name in ("first", "second")] == [
        (False, asked),
        (asked, True),
    ]


def test_what_is_added_at_a_grouping_is_keyed() -> None:
    spec = StepSpec(kind="k", operator=lambda context: Merge(), stores=(stored(),))
    assert last_node(begun().add(spec)).keyed is False
    assert last_node(Grouping(begun()).add(spec)).keyed is True


def test_a_store_that_cannot_keep_an_entry_is_named() -> None:
    spec = StepSpec(kind="k", operator=lambda context: Merge(), stores=(stored("rows"),))
    codec = last_node(begun().add(spec)).stores[0].codec
    with pytest.raises(TopologyError, match="store 'in-k-rows' cannot keep"):
        codec.encode_value((1, 5))


def test_the_serdes_of_a_source_are_those_of_the_stream() -> None:
    reference = source(TopologyBuilder(), "in", tm.json, tm.json, None, "earliest")
    (node,) = reference.builder.topology().sources
    assert node.key is reference.key
    assert node.value is reference.value


def test_a_topology_is_built_again_after_a_step_was_added() -> None:
    app = tm.App("t")
    app.stream("a", key=tm.utf8).group_by_key().count().to("b")
    before = [node.name for node in app.topology().nodes]
    app.stream("c").to("d")
    assert [node.name for node in app.topology().nodes][: len(before)] == before
    with tm.testing.TopologyDriver(app) as driver:
        driver.send_all("a", [Record("k", b"v", 1)])
        assert [record.value for record in driver.read("b")] == [1]


@pytest.mark.parametrize(
    "folded",
    [
        lambda s: s.group_by_key().count(),
        lambda s: s.group_by_key().window(tm.tumbling("1m")).count(),
        lambda s: s.group_by_key().window(tm.sliding("1m")).count(),
        lambda s: s.group_by_key().window(tm.session(gap="1m")).count(),
        lambda s: s.to_table().group_by(len).count(),
        lambda s: s.group_by_key().cogroup(lambda a, v: a).aggregate(list),
        lambda s: s.group_by_key().cogroup(lambda a, v: a).window(tm.tumbling("1m")).aggregate(list),
    ],
    ids=["key", "window", "sliding window", "session", "rows", "cogroup", "cogroup in windows"],
)
def test_tasks_share_the_code_that_is_generated_for_a_fold(
    folded: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    generated: list[str] = []

    def noted(what: str, *arguments: Any) -> Any:
        generated.append(what)
        return define(what, *arguments)

    monkeypatch.setattr(fold, "define", noted)
    app = tm.App("t")
    folded(app.stream("a", key=tm.utf8, value=tm.utf8))
    node = next(node for node in reversed(app.topology().nodes) if node.stores)

    def build() -> None:
        node.build({state.spec.name: StateCache(MemoryStore(), state.spec.name, state.codec) for state in node.stores})

    build()
    of_first = list(generated)
    assert of_first
    build()
    assert generated == of_first
