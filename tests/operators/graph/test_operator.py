"""Tests of the `Operator` interface: by default an operator only processes records."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import tidemill as tm
from tests.support.programs import PROGRAMS
from tidemill.operators.graph.operator import Operator, OptionalCall
from tidemill.operators.stateless.async_map import AsyncMap
from tidemill.operators.stateless.stateless import Merge

CALLS: tuple[OptionalCall, ...] = get_args(OptionalCall)
ROOT = Path(tm.__file__).parent


def operators(cls: type[Operator] = Operator) -> Iterator[type[Operator]]:
    """All classes of operators."""
    for sub in cls.__subclasses__():
        yield sub
        yield from operators(sub)


def handled(app: tm.App) -> dict[str, set[str]]:
    """The calls that each operator of a program handles, by the kind of its class."""
    with tm.testing.TopologyDriver(app) as driver:
        steps = [step for task in driver._tasks.values() for step in task._graph._steps]
        return {step.node.kind: {call for call in CALLS if step.operator.handles(call)} for step in steps}


def counted(emit: Any, *, together: bool = False) -> tm.App:
    app = tm.App("test")
    stream = app.stream("in", key=tm.utf8, value=tm.json)
    if together:
        group = stream.group_by_key().cogroup(lambda count, value: count + value)
        group.window(tm.session(gap="10ms")).emit(emit).aggregate(0, merge=lambda a, b: a + b).to("out")
    else:
        stream.group_by_key().window(tm.tumbling("10ms")).emit(emit).count().to("out")
    return app


def test_a_class_handles_the_calls_that_it_overrides() -> None:
    class Ticking(Merge):
        def tick(self, now: int) -> Any:
            return []

    assert [call for call in CALLS if Merge().handles(call)] == []
    assert [call for call in CALLS if Ticking().handles(call)] == ["tick"]
    assert [call for call in CALLS if AsyncMap.__new__(AsyncMap).handles(call)] == ["collect", "oldest_waiting"]


def test_a_window_handles_ticks_only_where_results_are_sent_at_intervals() -> None:
    for emit in ("update", "close"):
        assert handled(counted(emit))["count"] == {"advance"}
    assert handled(counted(tm.every("1s")))["count"] == {"tick", "advance", "oldest_waiting"}


def test_several_streams_in_one_fold_handle_ticks_as_the_fold_does() -> None:
    assert handled(counted("close", together=True))["aggregate"] == {"advance"}
    assert handled(counted(tm.every("1s"), together=True))["aggregate"] == {"tick", "advance", "oldest_waiting"}


def test_the_defaults_do_nothing() -> None:
    operator = Merge()
    assert operator.tick(5) == operator.advance(5, 0, 5) == operator.collect(5, None) == []
    assert operator.oldest_waiting() is None
    assert (operator.drops, operator.lateness, operator.misses, operator.doubt) == ({}, 0, 0, None)
    assert (operator.waiting, operator.room) == (0, None)
    operator.placed(1)
    operator.close()


def test_the_default_of_drops_is_shared_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Merge().drops["null key"] = 1


def test_every_operator_processes_records() -> None:
    assert [cls for cls in operators() if cls.process is Operator.process] == []


def test_operators_are_not_asked_for_attributes_they_may_lack() -> None:
    for path in (ROOT / "engine" / "tasks").glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"getattr", "hasattr"}, path


def test_a_node_shows_whether_its_operator_makes_async_calls() -> None:
    asynchronous: set[str] = set()
    for build in PROGRAMS.values():
        app = tm.App("test")
        build(app)
        with tm.testing.TopologyDriver(app) as driver:
            steps = [step for task in driver._tasks.values() for step in task._graph._steps]
        assert app.topology().has_asynchronous_calls == any(step.operator.handles("collect") for step in steps)
        asynchronous.update(step.node.kind for step in steps if step.node.asynchronous)
        assert all(step.node.asynchronous == step.operator.handles("collect") for step in steps)
    assert asynchronous == {"map_async"}
