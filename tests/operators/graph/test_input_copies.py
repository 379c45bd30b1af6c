"""Tests that in-place changes of a value by a function are visible downstream only."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tidemill.operators.graph.input_copies import private_inputs


class Struct(msgspec.Struct):
    n: int
    tags: list[int]


@dataclass
class Data:
    n: int
    tags: list[int]


def ruined(value: Any) -> Any:
    """Change a value in place."""
    match value:
        case dict():
            for part in list(value.values()):
                ruined(part)
            value["n"] = -1
            value["ruined"] = True
        case list():
            for part in value:
                ruined(part)
            value.append(-1)
        case Struct() | Data():
            value.tags.append(-1)
            value.n = -1
        case _:
            pass
    return value


class Keep(tm.Processor):
    last = tm.ValueState(object)

    def process(self, value, ctx):
        before = self.last.get()
        self.last.set(value)
        yield [before, ruined(value)][0]


def add(acc, value):
    return {"sum": acc.get("sum", 0) + 1, "all": [*acc.get("all", []), value]}


def ruining_pair(left, right):
    pair = [repr(left), repr(right)]
    ruined(left)
    ruined(right)
    return pair


STEPS = {
    "sink": lambda s, o: s,
    "table": lambda s, o: s.to_table(),
    "versions": lambda s, o: s.to_table(history="1h"),
    "aggregate": lambda s, o: s.group_by_key().aggregate(dict, add),
    "window": lambda s, o: s.group_by_key().window(tm.tumbling("1h")).aggregate(dict, add),
    "session": lambda s, o: (
        s.group_by_key().window(tm.session(gap="1h")).aggregate(dict, add, merge=lambda a, b: a or b)
    ),
    "reduce": lambda s, o: s.group_by_key().reduce(lambda a, b: ruined(a) and b),
    "columns": lambda s, o: s.group_by_key().aggregate(l=tm.last(lambda v: v), f=tm.first(lambda v: v)),
    "collect": lambda s, o: s.group_by_key().aggregate(c=tm.collect(lambda v: v)),
    "processor": lambda s, o: s.process(Keep),
    "stream join": lambda s, o: o.join(s, ruining_pair, within="1h"),
    "outer join": lambda s, o: s.join(o, ruining_pair, within="1ms", grace="0s", how="outer"),
    "table lookup": lambda s, o: o.join(s.to_table(), ruining_pair),
    "table join": lambda s, o: s.to_table().join(o.to_table(), ruining_pair),
    "as of": lambda s, o: o.join(s.to_table(history="1h"), ruining_pair, as_of=True),
    "suppress": lambda s, o: s.to_table().suppress(until="2ms"),
    "group of rows": lambda s, o: s.to_table().group_by(lambda row: 1).aggregate(dict, add, lambda acc, row: acc),
    "batch": lambda s, o: s.map_batch(lambda values: [(repr(v), ruined(v))[0] for v in values], max_wait="1s"),
}
VALUES = {
    "dict": lambda n: {"n": n, "tags": [n], "inner": {"n": n}},
    "struct": lambda n: Struct(n, [n]),
    "dataclass": lambda n: Data(n, [n]),
}


def results(step: str, made: str, *, before: bool, after: bool, behind: bool, batch: bool) -> Any:
    app = tm.App("k")
    numbers = app.stream("in", key=tm.utf8, value=tm.int64)
    stream = numbers.map(VALUES[made])
    other = app.stream("other", key=tm.utf8, value=tm.json)
    if before:
        stream.map(ruined).map(repr).to("first", value=tm.utf8)
    out = STEPS[step](stream, other).named("step")
    out = out.to_stream() if isinstance(out, tm.Table) else out
    out.map(repr).to("out", value=tm.utf8)
    if behind:
        out.map(ruined).map(repr).to("behind", value=tm.utf8)
    if after:
        stream.filter(ruined).map(repr).to("last", value=tm.utf8)
    with tm.testing.TopologyDriver(app) as driver:
        for round_ in range(2):
            records = [tm.Record("k", 3 * round_ + n, 10 * round_ + n) for n in (1, 2, 3)]
            if batch:
                driver.send_all("in", records)
            else:
                for record in records:
                    driver.send("in", record.key, record.value, timestamp=record.timestamp)
            driver.send("other", "k", {"o": [round_]}, timestamp=10 * round_ + 4)
            driver.send("other", "k", {"o": [round_]}, timestamp=10 * round_ + 5)
        driver.advance_wall_clock("1s")
        driver.advance_wall_clock("1s")
        return sorted((record.timestamp, record.value) for record in driver.read("out"))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("made", VALUES)
def test_what_others_do_to_a_value_changes_nothing(step, made):
    right = results(step, made, before=False, after=False, behind=False, batch=True)
    assert right
    assert not any("-1" in value for _, value in right if step not in ("processor", "reduce"))
    for batch in (False, True):
        for others in ({"before": True}, {"after": True}, {"behind": True}):
            chosen = {"before": False, "after": False, "behind": False, "batch": batch, **others}
            assert results(step, made, **chosen) == right, chosen


def private(build):
    app = tm.App("k")
    build(app.stream("in", key=tm.utf8, value=tm.json))
    nodes = app.topology().nodes
    return {node.name for node in nodes if node.id in private_inputs(nodes)}


def test_a_straight_line_copies_nothing():
    assert private(lambda s: s.filter(bool).map(dict).to("out")) == set()
    assert private(lambda s: s.group_by_key().aggregate(n=tm.count(), total=tm.sum("n")).to("out")) == set()
    assert private(lambda s: s.group_by_key().aggregate(dict, add).to_stream().map(dict).to("out")) == set()
    assert private(lambda s: s.to_table().named("t").to("out")) == set()
    assert private(lambda s: s.group_by(lambda v: v["a"]).count().to("out")) == set()


def test_functions_behind_a_table_and_in_branches_get_copies():
    assert private(lambda s: s.to_table().to_stream().map(dict).to("out")) == {"in-table-map"}

    def branches(s):
        s.to("as-it-is")
        s.filter(bool).map(dict).to("out")
        s.merge(s.map(list)).map(dict).to("merged")

    assert private(branches) == {"in-filter", "in-map-2", "in-map-3"}
