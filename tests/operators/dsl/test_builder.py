"""Tests of the stream builder: names, serdes, the resulting graph, and errors at build time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypedDict

import msgspec
import pytest

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.operators.graph.combined import CombinedSerde
from tidemill.operators.graph.topology import Node, Repartition, Sink, Source
from tidemill.operators.serdes.auto import auto, auto_key
from tidemill.operators.serdes.inference import result_serde
from tidemill.operators.serdes.keys import WindowedKey, plain_key


class View(msgspec.Struct):
    user: str


class Row(TypedDict):
    user: str


@dataclasses.dataclass
class Point:
    x: int


def app_with_views() -> tuple[tm.App, tm.Stream[str, View]]:
    app = tm.App("test")
    return app, app.stream("views", key=tm.utf8, value=tm.json(View))


def nodes(app: tm.App) -> list[tuple[str, str]]:
    return [(node.kind, node.name) for node in app.topology().nodes]


def stores(app: tm.App) -> list[str]:
    return [state.spec.name for node in app.topology().nodes for state in node.stores]


def node(app: tm.App, kind: str) -> Any:
    return next(found for found in app.topology().nodes if found.kind == kind)


def test_the_first_program() -> None:
    app, views = app_with_views()
    totals = (
        views.filter(lambda v: v.user != "x")
        .group_by(lambda v: v.user)
        .window(tm.tumbling("1m", grace="10s"))
        .aggregate(count=tm.count())
        .named("totals")
    )
    totals.to("totals", value=tm.json)
    assert nodes(app) == [
        ("source", "views"),
        ("filter", "views-filter"),
        ("repartition", "totals"),
        ("aggregate", "totals"),
        ("to_stream", "totals-to_stream"),
        ("sink", "to-totals"),
    ]
    assert stores(app) == ["totals"]


def test_stateful_names_do_not_depend_on_what_else_there_is() -> None:
    app, views = app_with_views()
    views.group_by_key().count()
    before = stores(app)
    views.filter(bool).map(str).peek(print).group_by_key().reduce(lambda a, b: a)
    views.with_key(lambda v: v.user).group_by_key().aggregate(n=tm.count())
    assert before == ["views-count"]
    assert stores(app) == ["views-count", "views-reduce", "views-aggregate"]
    assert [n.name for n in app.topology().nodes if isinstance(n, Repartition)] == ["views-aggregate"]


def test_a_lineage_starts_again_at_a_step_with_a_store() -> None:
    app, views = app_with_views()
    views.group_by_key().count().named("totals").to_stream().filter(bool).group_by_key().count()
    assert stores(app) == ["totals", "totals-count"]


def test_a_lineage_of_several_topics() -> None:
    app = tm.App("test")
    both = app.stream(["a", "b"]).merge(app.stream("c"), app.stream("d").filter(bool))
    both.group_by_key().count()
    assert stores(app) == ["a-b-c-d-count"]
    assert node(app, "source").name == "a-b"


def test_names_given_to_a_source_and_a_group() -> None:
    app = tm.App("test")
    stream = app.stream("a", name="clicks")
    stream.group_by(lambda v: v).named("by-user").count()
    stream.group_by_key().count()
    assert nodes(app) == [
        ("source", "clicks"),
        ("repartition", "by-user"),
        ("count", "by-user-count"),
        ("count", "clicks-count"),
    ]


def test_one_group_is_repartitioned_once() -> None:
    app, views = app_with_views()
    group = views.group_by(lambda v: v.user)
    group.count().named("n")
    group.reduce(lambda a, b: b).named("last")
    assert nodes(app) == [("source", "views"), ("repartition", "n"), ("count", "n"), ("reduce", "last")]


def test_a_name_can_be_given_at_any_time() -> None:
    app, views = app_with_views()
    counts = views.group_by(lambda v: v.user).count()
    counts.to("out")
    counts.named("late")
    assert [name for _, name in nodes(app)] == ["views", "late", "late", "late-to_stream", "to-out"]


def test_stateless_names_are_numbered() -> None:
    app, views = app_with_views()
    views.filter(bool)
    views.filter(bool)
    views.filter(bool).named("views-filter-2")
    views.to("out")
    views.to("out")
    app.stream("to-out")
    assert [name for _, name in nodes(app)] == [
        "views",
        "views-filter",
        "views-filter-3",
        "views-filter-2",
        "to-out",
        "to-out-2",
        "to-out-3",
    ]


def test_a_step_called_like_its_topic() -> None:
    app = tm.App("test")
    app.stream("totals").group_by_key().count().named("totals").to("totals")
    assert nodes(app)[:2] == [("source", "totals-2"), ("count", "totals")]


def test_tables() -> None:
    app = tm.App("test")
    app.table("users", key=tm.utf8, value=tm.json).filter(bool)
    app.table("airports", key=tm.utf8, value=tm.json, name="where")
    app.stream("clicks", key=tm.utf8).to_table()
    assert nodes(app) == [
        ("source", "users-source"),
        ("table", "users"),
        ("filter", "users-filter"),
        ("source", "airports-source"),
        ("table", "where"),
        ("source", "clicks"),
        ("table", "clicks-table"),
    ]
    assert stores(app) == ["users", "where", "clicks-table"]


def test_stores_in_memory() -> None:
    app, views = app_with_views()
    views.group_by_key().count().in_memory().named("n")
    views.group_by_key().count().named("m")
    assert [state.spec.kind for n in app.topology().nodes for state in n.stores] == ["memory", "rocksdb"]
    with pytest.raises(tm.TopologyError, match="a filter has no store"):
        views.to_table().filter(bool).in_memory()


def serdes(found: Any) -> tuple[Any, Any]:
    assert isinstance(found, (Sink, Repartition, Source))
    return found.key, found.value.inner if isinstance(found.value, CombinedSerde) else found.value


def test_serdes_are_kept_as_far_as_they_are_known() -> None:
    views_serde = tm.json(View)

    def last(build: Callable[[tm.Stream[str, View]], Any]) -> tuple[Any, Any]:
        app = tm.App("test")
        build(app.stream("views", key=tm.utf8, value=views_serde))
        return serdes(next(n for n in reversed(app.topology().nodes) if isinstance(n, (Sink, Repartition))))

    assert last(lambda s: s.filter(bool).peek(print).to("out")) == (tm.utf8, views_serde)
    assert last(lambda s: s.merge(s).to("out")) == (tm.utf8, views_serde)
    assert last(lambda s: s.merge(s.map(lambda v: v)).to("out")) == (tm.utf8, tm.json)
    assert last(lambda s: s.map(lambda v: v).to("out")) == (tm.utf8, tm.json)
    assert last(lambda s: s.map(lambda v: v, value=tm.msgpack).to("out")) == (tm.utf8, tm.msgpack)
    assert last(lambda s: s.with_key(lambda v: v.user).to("out")) == (plain_key, views_serde)
    assert last(lambda s: s.with_key(lambda v: 5, key=tm.int64).to("out")) == (tm.int64, views_serde)
    assert last(lambda s: s.to("out", key=tm.json, value=tm.msgpack)) == (tm.json, tm.msgpack)
    assert last(lambda s: s.map_record(lambda r: r).to("out")) == (plain_key, tm.json)
    assert last(lambda s: s.group_by_key().reduce(lambda a, b: b).to("out")) == (tm.utf8, views_serde)
    assert last(lambda s: s.group_by_key().count().to("out")) == (tm.utf8, tm.json)
    assert last(lambda s: s.group_by(lambda v: v.user).count()) == (auto_key, views_serde)
    assert last(lambda s: s.map(lambda v: (v,)).group_by(lambda v: "k", key=tm.utf8).count()) == (tm.utf8, auto)
    assert last(lambda s: s.to_table().to("out")) == (tm.utf8, views_serde)
    key, value = last(lambda s: s.group_by_key().window(tm.tumbling(10)).reduce(lambda a, b: b).to("out"))
    assert (type(key), key.inner, key.windows, value) == (WindowedKey, tm.utf8, tm.tumbling(10), views_serde)


def test_a_source_without_serdes_gives_bytes() -> None:
    app = tm.App("test")
    app.stream("a")
    assert serdes(node(app, "source")) == (tm.raw, tm.raw)


def annotated_view(value: Any) -> View:
    return value


def annotated_rows(value: Any) -> list[Row]:
    return [value]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (View, "json(View)"),
        (Point, "json(Point)"),
        (Row, "json(Row)"),
        (int, "json(int)"),
        (dict[str, int], "json(dict)"),
        (object, None),
        (Any, None),
        (None, None),
        (View | None, None),
        (tuple[int, int], None),
        ("Unknown", None),
    ],
)
def test_a_return_annotation_determines_the_serde(annotation: Any, name: str | None) -> None:
    def function(value: Any) -> Any: ...

    function.__annotations__["return"] = annotation
    found = result_serde(function)
    assert (None if found is None else repr(found)) == name


def test_annotations_of_functions_that_give_several() -> None:
    assert repr(result_serde(annotated_view)) == "json(View)"
    assert repr(result_serde(annotated_rows, each=True)) == "json(Row)"
    assert result_serde(lambda v: v) is None
    assert result_serde(print) is None
    assert result_serde(int) is None


def sourced(**options: Any) -> Source:
    app = tm.App("test")
    app.stream("a", **options)
    return node(app, "source")


def test_sources() -> None:
    app = tm.App("test")
    app.stream(tm.pattern("views-.*"))
    found = node(app, "source")
    assert (found.topics, found.pattern, found.name) == ((), "views-.*", "pattern")
    moment = datetime(2024, 1, 1, tzinfo=timezone.utc)
    assert [sourced(start=start).start for start in ("latest", "24h ago", moment)] == ["latest", "24h ago", moment]


def stream() -> tm.Stream[Any, Any]:
    return tm.App("test").stream("a", key=tm.utf8, value=tm.json)


def grouped() -> tm.Grouped[Any, Any]:
    return stream().group_by_key()


def counted() -> Any:
    return grouped().window(tm.tumbling(5)).count()


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: sourced(start="yesterday"), "'yesterday' is none of 'earliest', 'latest', '24h ago' and a datetime"),
    (lambda: sourced(start="24 hours ago"), "'24 hours' is not a duration; write '1d'"),
    (lambda: sourced(start=datetime(2024, 1, 1)), "has no time zone"),  # noqa: DTZ001
    (lambda: sourced(key="utf8"), r"the key of source 'a': 'utf8' is not a serde"),
    (lambda: sourced(value=View), r"View is not a serde: .*for typed JSON write tm\.json\(View\)"),
    (lambda: sourced(name="with space"), "step name 'with space' is not usable"),
    (lambda: tm.App("test").stream("no/slash"), "topic name 'no/slash' is not usable"),
    (lambda: tm.pattern("views-("), r"tm\.pattern\('views-\('\) is not a regular expression: missing \)"),
    (lambda: tm.App("test").stream([]), "a source needs at least one topic"),
    (lambda: stream().named("ä"), "step name 'ä' is not usable"),
    (lambda: stream().filter(untyped("x")), r"\.filter\(\) takes a function, not 'x'"),
    (lambda: stream().map(untyped(5)), r"\.map\(\) takes a function, not 5"),
    (lambda: stream().map(str, value=untyped(int)), r"\.map\(value=\): int is not a serde"),
    (lambda: stream().split(), "needs at least one name=predicate"),
    (lambda: stream().split(a=bool, default="a"), "'a' is a predicate's name already"),
    (lambda: stream().split(a=untyped(5)), r"\.split\(a=\) takes a function"),
    (lambda: stream().repartition(0), "a topic cannot have 0 partitions"),
    (lambda: stream().to(untyped(5)), r"\.to\(\) takes a topic or a function"),
    (lambda: stream().to("a/b"), "topic name 'a/b' is not usable"),
    (lambda: stream().to("out", partition=untyped(5)), r"\.to\('out', partition=\) takes a function"),
    (lambda: stream().to("out", value=untyped(str)), "str is not a serde"),
    (lambda: grouped().aggregate(), "takes columns such as"),
    (lambda: grouped().aggregate(0), "or an initial value and a function, not both"),  # pyright: ignore[reportCallIssue]
    (lambda: grouped().aggregate(0, len, n=tm.count()), "not both"),  # pyright: ignore[reportCallIssue]
    (lambda: grouped().aggregate(0, untyped(5)), r"\.aggregate\(\) takes a function, not 5"),
    (lambda: grouped().window(tm.tumbling(5)).emit(untyped("sometimes")), r"or tm\.every.* not 'sometimes'"),
    (lambda: counted().to_stream().group_by_key().window(tm.tumbling(5)).count(), "the keys are windows already"),
]


@pytest.mark.parametrize(("mistake", "reason"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(mistake: Callable[[], Any], reason: str) -> None:
    with pytest.raises(tm.TopologyError, match=reason):
        mistake()


def test_two_unnamed_steps_with_stores_that_would_be_called_the_same() -> None:
    app, views = app_with_views()
    views.group_by_key().count()
    views.filter(bool).group_by_key().count()
    with pytest.raises(tm.TopologyError, match=r"two steps would be called 'views-count'.*\.named\('\.\.\.'\)"):
        app.topology()


def test_a_program_that_reads_nothing() -> None:
    with pytest.raises(tm.TopologyError, match="the program reads nothing"):
        tm.App("test").topology()


def test_steps_of_two_programs_cannot_be_mixed() -> None:
    with pytest.raises(tm.TopologyError, match="another app"):
        stream().merge(stream())


def test_a_topology_is_a_value_of_its_own_each_time() -> None:
    app, views = app_with_views()
    views.filter(bool)
    first = app.topology()
    views.filter(bool)
    assert [len(first.nodes), len(app.topology().nodes)] == [2, 3]
    assert all(isinstance(n, Node) for n in first.nodes)
