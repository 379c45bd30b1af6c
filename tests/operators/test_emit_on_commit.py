"""Tests of `.emit("commit")`: of the results between two commits, the last one per key, in any step.

The same program runs twice, with `.emit("update")` and with `.emit("commit")`. Between two commits the second must
write exactly what remains of the first's output if only the last result of each key is kept, in the order of the last
change, without rows that began and ended in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tidemill as tm
from tests.random_programs.world import World
from tests.support.examples import examples
from tests.support.programs_windows import WINDOWS
from tests.support.untyped import untyped
from tidemill.operators.aggregates.holding import HoldingFold
from tidemill.operators.graph.operator import Operator
from tidemill.operators.graph.record_cache import RecordCache
from tidemill.operators.record import Row
from tidemill.operators.windows.holding import HoldingWindowedFold
from tidemill.state.memory import MemoryStore
from tidemill.state.window_cache import cache_of

When = Literal["update", "commit"]
Program = Callable[[tm.App, When], Any]
"""Build a program that writes the topic "out"."""


def stream(app: tm.App) -> tm.Stream[Any, Any]:
    return app.stream("a", key=tm.json, value=tm.json)


def added(left: int, right: int) -> int | None:
    return left + right if (left + right) % 3 else None


def merged(left: int | None, right: int | None) -> int | None:
    return added(left or 0, right or 0)


def appended(seen: list[Any], value: Any) -> list[Any] | None:
    return [*seen, value] if len(seen) < 3 else None


def count(app: tm.App, when: When) -> Any:
    return stream(app).group_by_key().emit(when).count()


def reduce(app: tm.App, when: When) -> Any:
    return stream(app).group_by_key().emit(when).reduce(added)


def repartitioned(app: tm.App, when: When) -> Any:
    by_rest = stream(app).group_by(lambda value: value % 2, key=tm.json).emit(when)
    return by_rest.aggregate(n=tm.count(), values=tm.collect())


def of_table(app: tm.App, when: When) -> Any:
    rows = app.table("a", key=tm.json, value=tm.json).group_by(lambda value: value % 2, key=tm.json)
    return rows.emit(when).aggregate(0, lambda total, value: total + value, lambda total, value: total - value)


def cogroup(app: tm.App, when: When) -> Any:
    other = app.stream("b", key=tm.json, value=tm.json).group_by_key()
    return stream(app).group_by_key().cogroup(appended, (other, appended)).emit(when).aggregate(list)


def cogroup_in(windows: Any) -> Program:
    def program(app: tm.App, when: When) -> Any:
        other = app.stream("b", key=tm.json, value=tm.json).group_by_key()
        both = stream(app).group_by_key().cogroup(appended, (other, appended)).window(windows).emit(when)
        return both.aggregate(list, merge=lambda one, other: [*one, *other][-2:])

    return program


def windowed(windows: Any) -> Program:
    def program(app: tm.App, when: When) -> Any:
        return stream(app).group_by_key().window(windows).emit(when).aggregate(list, appended, merge=merged_lists)

    return program


def counted(windows: Any) -> Program:
    def program(app: tm.App, when: When) -> Any:
        return stream(app).group_by_key().emit(when).window(windows).count()

    return program


def of_text(app: tm.App) -> Any:
    """Keys that are equal only if their bytes are: the results of some folds are made at the commit."""
    return app.stream("a", key=tm.utf8, value=tm.json).group_by_key()


def columns() -> dict[str, Any]:
    return {"n": tm.count(), "sum": tm.sum(None), "least": tm.min(None), "values": tm.collect()}


def count_of_text(app: tm.App, when: When) -> Any:
    return of_text(app).emit(when).count()


def columns_of_text(app: tm.App, when: When) -> Any:
    return of_text(app).emit(when).aggregate(**columns())


def mean_of_text(app: tm.App, when: When) -> Any:
    return of_text(app).emit(when).aggregate(mean=tm.mean(None))


def mean_of_text_in_windows(app: tm.App, when: When) -> Any:
    return of_text(app).window(tm.tumbling(10, grace=5)).emit(when).aggregate(mean=tm.mean(None))


def count_of_text_in(windows: Any) -> Program:
    return lambda app, when: of_text(app).window(windows).emit(when).count()


def columns_of_text_in(windows: Any) -> Program:
    def program(app: tm.App, when: When) -> Any:
        late = of_text(app).window(windows).late(to="late", key=tm.utf8, value=tm.json)
        return late.emit(when).aggregate(**columns())

    return program


def merged_lists(left: list[Any], right: list[Any]) -> list[Any] | None:
    return [*left, *right] if len(left) + len(right) < 5 else None


PROGRAMS: Final[dict[str, Program]] = {
    "count": count,
    "reduce": reduce,
    "repartitioned": repartitioned,
    "grouped table": of_table,
    "cogroup": cogroup,
    "count of text": count_of_text,
    "columns of text": columns_of_text,
    "mean of text": mean_of_text,
    "mean of text in windows": mean_of_text_in_windows,
    **{f"count of text in {name}": count_of_text_in(windows) for name, windows in WINDOWS.items()},
    **{f"columns of text in {name}": columns_of_text_in(windows) for name, windows in WINDOWS.items()},
    **{f"count in {name}": counted(windows) for name, windows in WINDOWS.items()},
    **{f"aggregate in {name}": windowed(windows) for name, windows in WINDOWS.items()},
    **{f"cogroup in {name}": cogroup_in(windows) for name, windows in WINDOWS.items()},
}

Sent = tuple[str, Any, Any, int]
KEYS = st.sampled_from(["u", "v", 1, 1.0, True, [1]])
"""Some are equal in Python and different as JSON; one cannot be hashed."""
SENT = st.tuples(st.sampled_from("ab"), KEYS, st.integers(0, 5) | st.none(), st.integers(0, 60))
PIECES = st.lists(st.lists(SENT, max_size=12), min_size=1, max_size=5)


def written(program: Program, when: When, pieces: list[list[Sent]], tail: Callable[[Any], Any]) -> list[list[Row]]:
    """What the program writes from commit to commit."""
    app = tm.App("test")
    tail(program(app, when).named("rows")).to("out")
    world = World(app)
    found: list[list[Row]] = []
    known = {topic for source in app.topology().sources for topic in source.topics}
    for piece in pieces:
        for topic, key, value, time in piece:
            if topic in known:
                world.send(
                    topic, [(tm.json.encode(key), None if value is None else tm.json.encode(value), time, None, 0)]
                )
        world.commit()
        rows = [row for (topic, _), rows in world.outputs.items() if topic == "out" for row in rows]
        found.append(rows)
        world.outputs.clear()
        world._marks.clear()
    world.close()
    return found


def as_is(table: tm.Table[Any, Any]) -> Any:
    return table


def last_of_each(rows: list[Row], before: set[Any]) -> list[Row]:
    """The last row per key in order of the last change; not of rows that began and ended here."""
    last: dict[Any, Row] = {}
    for row in rows:
        last.pop(row[0], None)
        last[row[0]] = row
    kept = [row for row in last.values() if row[1] is not None or row[0] in before]
    for row in rows:
        (before.discard if row[1] is None else before.add)(row[0])
    return kept


@pytest.mark.parametrize("name", PROGRAMS)
@given(pieces=PIECES)
@example(pieces=[[("a", "u", None, time) for time in (0, 0, 0, 1)]])  # a session with equal start and end
@examples(25)
def test_the_last_result_of_each_key_in_the_order_of_the_last_change(name: str, pieces: list[list[Sent]]) -> None:
    updates = written(PROGRAMS[name], "update", pieces, as_is)
    commits = written(PROGRAMS[name], "commit", pieces, as_is)
    alive: set[Any] = set()
    assert commits == [last_of_each(rows, alive) for rows in updates]


@pytest.mark.parametrize("name", PROGRAMS)
@given(pieces=PIECES)
@examples(8)
def test_steps_downstream_get_the_row_before(name: str, pieces: list[list[Sent]]) -> None:
    """A grouped table counts each row once, so at each commit its counts are those of the updates."""

    def grouped(table: tm.Table[Any, Any]) -> Any:
        by_value = table.group_by(str, key=tm.utf8)
        return by_value.count().named("counts")

    def at_each_commit(rows: list[list[Row]]) -> list[dict[Any, Any]]:
        counts: dict[Any, Any] = {}
        found: list[dict[Any, Any]] = []
        for piece in rows:
            counts |= {row[0]: row[1] for row in piece}
            found.append({key: value for key, value in counts.items() if value not in (None, b"0")})
        return found

    found = [at_each_commit(written(PROGRAMS[name], when, pieces, grouped)) for when in ("update", "commit")]
    assert found[0] == found[1]


def operator_of(program: Program, tail: Callable[[Any], Any] = as_is) -> Operator:
    """A new operator of a program's step."""
    app = tm.App("test")
    tail(program(app, "commit").named("rows")).to("out")
    node = next(node for node in app.topology().nodes if node.name == "rows" and node.stores)
    store = MemoryStore()
    return node.build({kept.spec.name: cache_of(store, kept.spec.name, kept.codec) for kept in node.stores})


@pytest.mark.parametrize(
    "name", ["count of text", "count of text in windows", "mean of text", "mean of text in windows"]
)
def test_the_oldest_result_that_waits(name: str) -> None:
    step = operator_of(PROGRAMS[name])
    assert step.oldest_waiting() is None
    step.process([tm.Record("u", 1, 34), tm.Record("v", 1, 32), tm.Record("u", 1, 31)], 0)
    assert step.oldest_waiting() == 32, "the result of 31 has the time of the newest record, 34"
    step.process([tm.Record("u", 1, 98)], 0)
    assert step.oldest_waiting() == 32, "its window may have expired"
    assert step.before_commit(0)
    assert step.oldest_waiting() is None


def test_which_results_are_made_at_the_commit() -> None:
    """The others are made at once, and held."""

    def operator(program: Program, tail: Callable[[Any], Any] = as_is) -> type[Any]:
        return type(operator_of(program, tail))

    tumbling = tm.tumbling(10)
    assert operator(count_of_text) is operator(columns_of_text) is HoldingFold
    assert operator(count_of_text_in(tumbling)) is operator(columns_of_text_in(tumbling)) is HoldingWindowedFold
    assert operator(columns_of_text, lambda rows: rows.to_stream()) is HoldingFold
    assert operator(columns_of_text, lambda rows: rows.group_by(str).count()) is RecordCache, "it needs the old rows"
    for held in (count, reduce, of_table, mean_of_text, count_of_text_in(tm.sliding(10)), counted(tumbling)):
        assert operator(held) is RecordCache


def test_a_row_that_expired_and_is_created_again_is_a_new_one_downstream() -> None:
    """As without `.emit("commit")`: a row that has expired is not subtracted."""
    pieces: list[list[Sent]] = [[("a", "u", None, 0), ("b", "u", None, 20), ("a", "u", None, 0)]]

    def grouped(table: tm.Table[Any, Any]) -> Any:
        return table.group_by(str, key=tm.utf8).count().named("counts")

    found = [written(PROGRAMS["cogroup in windows"], when, pieces, grouped)[-1][-1][1] for when in ("update", "commit")]
    assert found == [b"3", b"3"]


def test_results_of_results_are_sent_with_the_same_commit() -> None:
    app = tm.App("test")
    first = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().emit("commit").count().named("first")
    first.group_by(lambda n: "all", key=tm.utf8).emit("commit").aggregate(rows=tm.count(), sum=tm.sum(None)).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "u", 1, 1)
        driver.send("a", "v", 1, 2)
        driver.send("a", "u", 1, 3)
        found = [record.value for record in driver.read("out")]
    assert found == [{"rows": 1, "sum": 1}, {"rows": 2, "sum": 2}, {"rows": 2, "sum": 3}]


def test_time_downstream_waits_for_results_that_wait() -> None:
    app = tm.App("test")
    clicks = app.stream("a", key=tm.utf8, value=tm.json, watermark=tm.bounded("0s"))
    counts = clicks.group_by_key().emit("commit").count().named("counts").to_stream()
    counts.group_by_key().window(tm.tumbling(10)).emit("close").count().named("closed").to("out")
    world = World(app)
    for key, time in ((b"u", 1), (b"v", 2), (b"v", 15), (b"w", 31)):
        world.send("a", [(key, b"1", time, None, 0)])
        assert not world.outputs
    world.commit()
    world.send("a", [(b"u", b"1", 50, None, 0)])
    world.commit()
    world.send("a", [(b"u", b"1", 90, None, 0)])
    assert world.drops() == {}
    rows = [row for rows in world.outputs.values() for row in rows]
    assert [(row[1], row[2]) for row in rows] == [(b"1", 1), (b"1", 15), (b"1", 31), (b"1", 50)], (
        "each in the window of its time"
    )


def test_invalid_programs_are_refused() -> None:
    grouped = untyped(stream(tm.App("test")).group_by_key())
    for when, message in (("close", "is for windows"), (tm.every("5s"), "is for windows"), ("now", "not 'now'")):
        with pytest.raises(tm.TopologyError, match=message):
            grouped.emit(when)
    with pytest.raises(tm.TopologyError, match=r"write \.cogroup"):
        grouped.emit("commit").cogroup(appended)
    with pytest.raises(tm.TopologyError, match="is for results that change"):
        grouped.emit("commit").deduplicate("1s")
    with pytest.raises(tm.TopologyError, match="'update', 'commit', 'close'"):
        grouped.window(tm.tumbling("1m")).emit("now")
