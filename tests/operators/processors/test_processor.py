"""Tests of processors: states behave like the Python types they are named after, and failures change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm


class View(msgspec.Struct):
    user: str
    amount: float


class Alert(tm.Processor[str, View, str]):
    spent = tm.ValueState(float, default=0.0)

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def process(self, value: View, ctx: tm.Context[str]) -> Iterator[str | tm.Side[View]]:
        self.spent.set(self.spent.get() + value.amount)
        if self.spent.get() > self.limit:
            yield f"{ctx.key} spent {self.spent.get():.2f}"
            yield tm.side("audit", value)


Script = list[tuple[str, Callable[[Any], Any]]]


class Scripted(tm.Processor[str, list[Any], Any]):
    """Perform the operations of each record on the states, and emit the results."""

    value = tm.ValueState(list)
    mapping = tm.MapState(object, object)
    items = tm.ListState(int)

    def process(self, value: list[Any], ctx: tm.Context[str]) -> list[Any]:
        name, *arguments = value
        return [repr(ACTIONS[name](self, *arguments))]


def attempt(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except (IndexError, KeyError) as error:
        return type(error).__name__


def fail(self: Any) -> None:
    self.value.set([0])
    self.mapping["x"] = 0
    self.items.append(0)
    self.items.popleft()
    self.mapping.clear()
    raise RuntimeError("fail")


ACTIONS: dict[str, Callable[..., Any]] = {
    "get": lambda self: self.value.get(),
    "set": lambda self, x: self.value.set(x),
    "clear": lambda self: self.value.clear(),
    "put": lambda self, k, v: self.mapping.__setitem__(k, v),
    "look": lambda self, k: (self.mapping.get(k), k in self.mapping),
    "take": lambda self, k: attempt(lambda: self.mapping.pop(k)),
    "all": lambda self: sorted(self.mapping.items(), key=repr),
    "size": lambda self: (len(self.mapping), len(self.items)),
    "empty": lambda self: self.mapping.clear(),
    "append": lambda self, n: self.items.append(n),
    "popleft": lambda self: attempt(self.items.popleft),
    "list": lambda self: list(self.items),
    "at": lambda self, i: attempt(lambda: self.items[i]),
    "drop": lambda self: self.items.clear(),
    "fail": fail,
}


class Plain:
    """Perform the same with the Python types themselves."""

    def __init__(self) -> None:
        self.mapping: dict[Any, Any] = {}
        self.items = PlainList()
        self.value = PlainValue()


class PlainValue:
    content: Any = None

    def get(self) -> Any:
        return self.content

    def set(self, content: Any) -> None:
        self.content = content

    def clear(self) -> None:
        self.content = None


class PlainList(list[Any]):
    def popleft(self) -> Any:
        return self.pop(0)


keys = st.sampled_from(["x", "y", 1, "", "x\x00"])
actions = st.one_of(
    st.tuples(st.sampled_from(["get", "clear", "all", "size", "empty", "popleft", "list", "drop", "fail"])),
    st.tuples(st.just("set"), st.lists(st.integers(), max_size=2)),
    st.tuples(st.just("put"), keys, st.integers()),
    st.tuples(st.sampled_from(["look", "take"]), keys),
    st.tuples(st.just("append"), st.integers()),
    st.tuples(st.just("at"), st.integers(-3, 3)),
)


@given(st.lists(st.tuples(st.sampled_from(["", "k", "k\x00", "l"]), actions), max_size=40))
def test_states_act_like_what_they_are_named_after(script: list[tuple[str, Any]]) -> None:
    app = tm.App("test", on_error=tm.skip)
    app.stream("a", key=tm.utf8, value=tm.json).process(Scripted).to("out")
    models: dict[str, Any] = {}
    with tm.testing.TopologyDriver(app) as driver:
        for key, action in script:
            driver.send("a", key, action, 0)
            model = models.setdefault(key, Plain())
            name, *arguments = action
            expected = [] if name == "fail" else [repr(ACTIONS[name](model, *arguments))]
            assert [r.value for r in driver.read("out")] == expected
            assert contents(driver) == {
                "value": {k: m.value.content for k, m in models.items() if m.value.content is not None},
                "mapping": {(k, inner): item for k, m in models.items() for inner, item in m.mapping.items()},
                "items": {k: list(m.items) for k, m in models.items() if m.items},
            }


def contents(driver: Any) -> dict[str, Any]:
    """Return the readable contents of the three stores of the scripted processor."""
    lists: dict[Any, list[Any]] = {}
    for (key, _), item in driver.store("a-process-items").items():
        lists.setdefault(key, []).append(item)
    stores = {name: dict(driver.store(f"a-process-{name}").items()) for name in ("value", "mapping")}
    return {**stores, "items": lists}


def run(processor: Any, values: list[Any], *arguments: Any, value: Any = tm.json) -> Any:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=value).process(processor, *arguments).named("p").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for number, item in enumerate(values):
            driver.send("a", "k", item, number)
        return [record.value for record in driver.read("out")]


def test_the_one_in_the_guide() -> None:
    app = tm.App("test")
    alerts = app.stream("views", key=tm.utf8, value=tm.json(View)).process(Alert, limit=100).named("alerts")
    alerts.to("alerts", value=tm.utf8)
    alerts.side("audit").to("audit", value=tm.json(View))
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("views", "u1", View("u1", 60.0), 1)
        driver.send("views", "u2", View("u2", 60.0), 2)
        driver.send("views", None, View("u3", 600.0), 3)
        driver.send("views", "u1", View("u1", 50.0), 4, (("h", b"x"),))
        assert driver.read("alerts") == [tm.Record("u1", "u1 spent 110.00", 4, (("h", b"x"),))]
        assert driver.read("audit") == [tm.Record("u1", View("u1", 50.0), 4, (("h", b"x"),))]
        assert driver.store("alerts-spent").get("u1") == 110.0
        assert dict(driver.store("alerts-spent").items()) == {"u1": 110.0, "u2": 60.0}
        assert driver.dropped == {("alerts", "null key"): 1}


def test_records_to_an_unused_side_output_are_counted() -> None:
    app = tm.App("test")
    app.stream("views", key=tm.utf8, value=tm.json(View)).process(Alert, 1).named("alerts").to("alerts")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("views", "u1", View("u1", 60.0), 1)
        assert len(driver.read("alerts")) == 1
        assert driver.dropped == {("alerts", "side output 'audit' is not read"): 1}


class Timed(tm.Processor[str, Any, Any]):
    seen = tm.ValueState(int)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        return [[ctx.key, ctx.timestamp, ctx.stream_time, ctx.now, ctx.offset, [list(h) for h in ctx.headers]]]


def test_the_attributes_of_the_context() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).process(Timed).to("out")
    with tm.testing.TopologyDriver(app, now=77) as driver:
        driver.send("a", "k", 1, 9)
        driver.send("a", None, 1, 50)
        driver.advance_wall_clock(3)
        driver.send("a", "l", 1, 4)
        driver.send_all("a", [tm.Record("k", 1, 12), tm.Record("k", 1, 5), tm.Record("k", 1, 6)])
        found = [record.value for record in driver.read("out")]
        assert found[:2] == [["k", 9, 9, 77, 0, []], ["l", 4, 9, 80, 2, []]]
        assert [(at, stream_time) for _, at, stream_time, *_ in found[2:]] == [(12, 12), (5, 12), (6, 12)]


class Stateless(tm.Processor[str, Any, Any]):
    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        return [value, ctx.key] if value else None


def test_a_processor_without_state_is_no_keyed_step() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).with_key(lambda v: v).process(Stateless).to("out", key=tm.json)
    assert [node.kind for node in app.topology().nodes] == ["source", "with_key", "process", "sink"]
    with tm.testing.TopologyDriver(app) as driver:
        for value in (1, None, 0):
            driver.send("a", "k", value, 0)
        assert [record.value for record in driver.read("out")] == [1, 1]


def test_a_processor_with_state_repartitions_where_the_key_changed() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).with_key(lambda v: v).process(Timed).to("out")
    assert [node.kind for node in app.topology().nodes] == ["source", "with_key", "repartition", "process", "sink"]


class GivesText(tm.Processor[str, Any, Any]):
    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        return "text"


class GivesNoState(tm.Processor[str, Any, Any]):
    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        return [ctx.stream_time]


class WrongType(tm.Processor[str, Any, Any]):
    spent = tm.ValueState(float, default=0.0)
    seen = tm.MapState(str, int)
    items = tm.ListState(View)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        {"value": self.spent.set, "list": self.items.append}.get(value, lambda v: self.seen.update({v: 1}))(
            value if value == "value" else 5
        )


class Unwritable(tm.Processor[str, Any, Any]):
    anything = tm.ValueState(object)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        self.anything.set(object())


@pytest.mark.parametrize(
    ("processor", "value", "reason"),
    [
        (GivesText, 1, "yields its results or returns a list of them, not 'text'"),
        (GivesNoState, 1, "this one has none"),
        (WrongType, "value", "state 'spent' holds values of type float, not 'value'"),
        (WrongType, "list", "state 'items' holds values of type View, not 5"),
        (WrongType, "map", "state 'seen' holds values of type str, not 5"),
        (Unwritable, "map", "a builtins.object cannot be written"),
    ],
)
def test_mistakes_are_errors_of_the_record(processor: Any, value: Any, reason: str) -> None:
    with pytest.raises(tm.RecordError) as caught:
        run(processor, [value])
    assert caught.value.step == "p"
    assert reason in str(caught.value.__cause__)


class Uncalled(tm.Processor[str, Any, Any]):
    spent = tm.ValueState


@pytest.mark.parametrize(
    ("processor", "arguments", "reason"),
    [
        (Alert, (), "missing a required argument: 'limit'"),
        (Alert, (1, 2), "too many positional arguments"),
        (Uncalled, (), r"Uncalled.spent: call the class, as in tm.ValueState\(...\)"),
        (Alert(5), (), "takes a subclass of tm.Processor"),
        (dict, (), "takes a subclass of tm.Processor"),
    ],
)
def test_mistakes_that_are_errors_while_building(processor: Any, arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(tm.TopologyError, match=reason):
        tm.App("test").stream("a", key=tm.utf8).process(processor, *arguments)


def test_state_is_of_no_use_outside_a_step() -> None:
    with pytest.raises(RuntimeError, match="state 'spent' can be used only while a record is processed"):
        Alert(1).spent.get()


class Base(tm.Processor[str, Any, Any]):
    one = tm.ValueState(int, default=0)
    two = tm.ValueState(int, default=0)


class Derived(Base):
    two = None
    three = tm.ValueState(int, default=0)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        self.one.set(self.one.get() + value)
        self.three.set(self.three.get() + self.one.get())
        return [self.three.get()]


def test_states_are_inherited() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).process(Derived)
    assert [state.spec.name for node in app.topology().nodes for state in node.stores] == [
        "a-process-one",
        "a-process-three",
    ]
    assert run(Derived, [1, 2]) == [1, 4]


def test_one_class_in_two_steps_has_two_states() -> None:
    app = tm.App("test")
    source = app.stream("a", key=tm.utf8, value=tm.json)
    source.process(Derived).named("p").to("out_p")
    source.filter(lambda v: v > 1).process(Derived).named("q").to("out_q")
    with tm.testing.TopologyDriver(app) as driver:
        for value in (1, 2):
            driver.send("a", "k", value, 0)
        assert [[r.value for r in driver.read(topic)] for topic in ("out_p", "out_q")] == [[1, 4], [2]]
