"""Tests of invalid programs: each kind of error is refused before the start, with the remedy.

The final output, with exit code and place in the program, is tested with one program as a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.engine.plan.plan import partition, plan

Write = Callable[[tm.App], Any]


def orders(app: tm.App) -> Any:
    return app.stream("orders", key=tm.utf8, value=tm.json)


def twice_named(app: tm.App) -> None:
    orders(app).group_by_key().count().named("totals")
    orders2 = app.stream("orders2", key=tm.utf8)
    orders2.group_by_key().count().named("totals")


def read_twice(app: tm.App) -> None:
    orders(app).to("one")
    app.stream("orders", name="again").to("two")


MISTAKES: dict[str, tuple[Write, list[str]]] = {
    "nothing is read": (lambda app: None, ["reads nothing", "app.stream(topic)"]),
    "no topic": (lambda app: app.stream([]), ["at least one topic"]),
    "a topic's name": (lambda app: app.stream("my topic"), ["topic name 'my topic'", "letters"]),
    "a step's name": (lambda app: orders(app).map(str).named("to text"), ["step name 'to text'", "letters"]),
    "two steps of one name": (twice_named, ["'totals'", "name one of", ".named("]),
    "a topic read twice": (read_twice, ["'orders'", "two sources", "use the resulting stream twice"]),
    "a type for a serde": (
        lambda app: app.stream("in", key=untyped(str)),
        ["str", "is not a serde", "encode and decode"],
    ),
    "a value for a model": (lambda app: app.stream("in", value=tm.json(5)), ["tm.json cannot read", "5"]),
    "a start": (lambda app: app.stream("in", start="newest"), ["'newest'", "'earliest'", "'latest'", "'24h ago'"]),
    "a start without a zone": (lambda app: app.stream("in", start=datetime(2024, 1, 1)), ["no time zone"]),  # noqa: DTZ001
    "a start's duration": (lambda app: app.stream("in", start="2 days ago"), ["'2 days'", "'2d'"]),
    "no function to map": (lambda app: orders(app).map("upper"), [".map() takes a function, not 'upper'"]),
    "no function to filter": (lambda app: orders(app).filter(True), [".filter() takes a function, not True"]),
    "no function to group by": (lambda app: orders(app).group_by("user"), [".group_by() takes a function", "'user'"]),
    "a split without predicates": (lambda app: orders(app).split(), [".split() needs at least one name=predicate"]),
    "a split's default": (lambda app: orders(app).split(a=bool, default="a"), ["'a'", "a predicate's name already"]),
    "no partitions": (lambda app: orders(app).repartition(partitions=0), ["cannot have 0 partitions"]),
    "no windows": (lambda app: orders(app).group_by_key().window("1m"), ["tm.tumbling('1m')", "not '1m'"]),
    "a window's size": (lambda app: tm.tumbling("1 minute"), ["'1 minute' is not a duration", "write '1m'"]),
    "a window of no size": (lambda app: tm.tumbling("0s"), ["must be at least '1ms'"]),
    "a window's grace": (lambda app: tm.tumbling("1m", grace="ten"), ["grace", "'ten' is not a duration"]),
    "hops with gaps": (lambda app: tm.hopping("1m", every="2m"), ["leave gaps", "every must not be longer"]),
    "no aggregator": (lambda app: orders(app).group_by_key().aggregate(n=len), ["aggregate(n=...)", "tm.count()"]),
    "no columns": (lambda app: orders(app).group_by_key().aggregate(), ["takes columns such as count=tm.count()"]),
    "an aggregator's field": (lambda app: tm.sum(untyped(3)), ["tm.sum", "3", "neither a field's name nor a function"]),
    "no topic to write": (lambda app: orders(app).to(7), [".to() takes a topic or a function", "7"]),
    "a written topic's name": (lambda app: orders(app).to("out put"), ["'out put'", "letters"]),
    "no store to hold in memory": (lambda app: app.table("t").map(len).in_memory(), [".in_memory()", "no store"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_when_the_program_is_built(mistake: str) -> None:
    write, words = MISTAKES[mistake]

    def build() -> None:
        app = tm.App("shop")
        write(app)
        partition(app.topology())

    with pytest.raises(tm.TopologyError) as caught:
        build()
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


@pytest.mark.parametrize("name", ["", "my app", "a/b", "..", "x" * 181])
def test_an_application_needs_a_name_that_topics_can_have(name: str) -> None:
    with pytest.raises(tm.TopologyError, match="application name"):
        tm.App(name)


def test_topics_that_a_step_combines_must_be_copartitioned() -> None:
    app = tm.App("shop")
    both = orders(app).merge(app.stream("returns", key=tm.utf8, value=tm.json))
    both.group_by_key().count().named("totals").to("out")
    with pytest.raises(tm.TopologyError) as caught:
        plan(partition(app.topology()), "shop", {"orders": 4, "returns": 6})
    for word in ("'totals'", "'orders' has 4", "'returns' has 6", ".repartition(partitions=6)"):
        assert word in str(caught.value)


def test_the_fix_that_the_message_names_works() -> None:
    app = tm.App("shop")
    both = orders(app).repartition(partitions=6).merge(app.stream("returns", key=tm.utf8, value=tm.json))
    both.group_by_key().count().named("totals").to("out")
    planned = plan(partition(app.topology()), "shop", {"orders": 4, "returns": 6})
    assert sorted(subtopology.partitions for subtopology in planned.subtopologies) == [4, 6]


@pytest.mark.slow
def test_the_output_has_the_mistake_and_its_place_but_no_traceback(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text(
        "import tidemill as tm\n\napp = tm.App('shop')\norders = app.stream('orders', key=tm.utf8)\n"
        "orders.group_by_key().count().named('totals of users').to('out')\n\n"
        "if __name__ == '__main__':\n    app.main()\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    run = [sys.executable, "-m", "tidemill", "run", f"{program}:app", "--broker", "127.0.0.1:1"]
    done = subprocess.run(run, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "error: step name 'totals of users' is not usable" in done.stderr
    assert "shop.py, line 5" in done.stderr
    assert "Traceback" not in done.stderr
