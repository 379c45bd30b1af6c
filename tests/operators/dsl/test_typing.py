"""Tests of static typing: a type checker infers the types of a whole program without annotations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tidemill

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pyright")]  # one run of pyright serves all

PROGRAM = """
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import tidemill as tm
from typing_extensions import assert_type

class View(msgspec.Struct):
    user: str
    amount: float

@dataclass
class Spent:
    total: float

class Row(TypedDict):
    user: str

app = tm.App("views")
views = app.stream("views", key=tm.utf8, value=tm.json(View), timestamp=lambda v: int(v.amount))
assert_type(views, tm.Stream[str, View])
timed = app.stream("v", key=tm.utf8, value=tm.json(View), timestamp=tm.from_record(lambda r: int(r.value.amount)))
assert_type(timed, tm.Stream[str, View])
assert_type(timed.with_timestamp(lambda v: int(v.amount)), tm.Stream[str, View])
assert_type(timed.with_timestamp(tm.from_record(lambda r: r.timestamp + len(r.key))), tm.Stream[str, View])
assert_type(app.stream("a"), tm.Stream[bytes, bytes])
assert_type(app.stream("a", value=tm.json(Row)), tm.Stream[bytes, Row])
assert_type(app.stream("a", key=tm.int64, value=tm.json), tm.Stream[int, Any])
assert_type(app.table("a", key=tm.utf8, value=tm.json(Spent)), tm.Table[str, Spent])

assert_type(views.filter(lambda v: v.amount > 1), tm.Stream[str, View])
assert_type(views.map(lambda v: v.amount), tm.Stream[str, float])
assert_type(views.map(lambda v: Spent(v.amount), value=tm.json(Spent)), tm.Stream[str, Spent])
assert_type(views.flat_map(lambda v: [v.user, v.user]), tm.Stream[str, str])
assert_type(views.with_key(lambda v: int(v.amount)), tm.Stream[int, View])
assert_type(views.map_record(lambda r: tm.Record(len(r.key), r.value.amount, r.timestamp)), tm.Stream[int, float])
assert_type(views.split(big=lambda v: v.amount > 1, default="rest"), dict[str, tm.Stream[str, View]])
assert_type(views.merge(views), tm.Stream[str, View])
assert_type(views.merge(views.map(lambda view: 1)), tm.Stream[str, View | int])

users = app.stream("users", key=tm.utf8, value=tm.json(Row))
rows = app.table("rows", key=tm.utf8, value=tm.json(Row))
assert_type(views.join(users, lambda v, u: (v.amount, u["user"]), within="5m"), tm.Joined[str, tuple[float, str]])
assert_type(views.join(users, lambda v, u: u and v.user, within=("1m", "5m"), how="left"), tm.Joined[str, str | None])
assert_type(views.join(rows, lambda v, r: r["user"]), tm.Joined[str, str])
assert_type(views.join(rows, lambda v, r: v.user if r is None else r["user"], how="left"), tm.Joined[str, str])
plans = app.global_table("plans", key=tm.int64, value=tm.json(Spent))
assert_type(plans, tm.GlobalTable[int, Spent])
assert_type(views.join(plans, lambda v, p: p.total, on=lambda v: int(v.amount)), tm.Joined[str, float])
assert_type(views.join(plans, lambda v, p: p and p.total, on=lambda v: None, how="left"), tm.Joined[str, float | None])

by_amount = views.group_by(lambda v: int(v.amount))
assert_type(by_amount, tm.Grouped[int, View])
assert_type(by_amount.count(), tm.Table[int, int])
assert_type(by_amount.reduce(lambda a, b: a if a.amount > b.amount else b), tm.Table[int, View])
assert_type(by_amount.aggregate(0.0, lambda total, v: total + v.amount), tm.Table[int, float])
assert_type(by_amount.aggregate(n=tm.count(), most=tm.max("amount")), tm.Table[int, dict[str, Any]])

def longest(names: list[str], view: View) -> list[str]:
    return [*names, view.user]

def no_names() -> list[str]:
    return []

assert_type(by_amount.aggregate(no_names, longest), tm.Table[int, list[str]])

windowed = views.group_by_key().window(tm.tumbling("1m")).emit("close")
assert_type(windowed, tm.WindowedStream[str, View])
counts = windowed.count().named("counts")
assert_type(counts, tm.WindowedTable[str, int])
assert_type(counts.to_stream(), tm.Stream[tm.Windowed[str], int])
assert_type(counts.filter(lambda n: n > 1).map(str), tm.Table[tm.Windowed[str], str])

class Alert(tm.Processor[str, View, str]):
    spent = tm.ValueState(float, default=0.0)
    last = tm.ValueState(View)
    kinds = tm.MapState(str, int)
    seen = tm.ListState(float)

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def process(self, view: View, ctx: tm.Context[str]):
        assert_type(ctx.key, str)
        assert_type(self.spent.get(), float)
        assert_type(self.last.get(), View | None)
        assert_type(self.kinds.get(view.user), int | None)
        assert_type(list(self.seen), list[float])
        yield f"{ctx.key} at {ctx.timestamp}"
        yield tm.side("audit", view)

class Unannotated(tm.Processor[str, View, str]):
    def process(self, view, ctx):
        return [view.user]

assert_type(views.process(Unannotated), tm.Processed[str, str])
alerts = views.process(Alert, limit=5.0).named("alerts")
assert_type(alerts, tm.Processed[str, str])
assert_type(alerts.filter(bool), tm.Stream[str, str])
"""

MISTAKES = {
    "views.filter(lambda v: v.amuont > 1)": "amuont",
    "views.map(lambda v: v.amount, value=tm.utf8)": "Utf8",
    "views.to('out', partition=lambda r: r.key)": "str",
    "views.process(Alert)": "limit",
    "views.process(Alert, limit='5')": "limit",
    "windowed.emit('never')": "never",
    "by_amount.reduce(lambda a, b: a.amount)": "float",
    "tm.Record(1, 2)": "timestamp",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """The errors of pyright for the program and the mistakes after it, by line."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "program.py").write_text(PROGRAM + "\n".join(MISTAKES) + "\n")
    (folder / "site").mkdir()
    (folder / "site" / "tidemill").symlink_to(Path(tidemill.__file__).parent)  # wherever it is installed from
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.10", "extraPaths": ["site"]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert run.stdout, run.stderr
    report = json.loads(run.stdout)
    return [(entry["range"]["start"]["line"] + 1, entry["message"]) for entry in report["generalDiagnostics"]]


def test_a_program_needs_no_annotations(found: list[tuple[int, str]]) -> None:
    lines = PROGRAM.splitlines()
    assert [(lines[line - 1], message) for line, message in found if line <= len(lines)] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_where_it_is(found: list[tuple[int, str]], mistake: str) -> None:
    line = len(PROGRAM.splitlines()) + 1 + list(MISTAKES).index(mistake)
    messages = [message for at, message in found if at == line]
    assert any(MISTAKES[mistake] in message for message in messages), messages
