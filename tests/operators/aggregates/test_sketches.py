"""Tests of sketch aggregators: their accuracy, also after merges and restores."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped
from tidemill.operators.aggregates.columns import columns_fold

pytest.importorskip("datasketches", reason="there is no wheel of datasketches for this Python")


def folded(columns: dict[str, tm.Aggregator], values: list[Any], *, again: bool = False) -> Any:
    """The row that the values make; with `again` through bytes after each."""
    app = tm.App("test", on_error=tm.skip)
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().aggregate(**columns).named("t").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for batch in [[value] for value in values] if again else [values]:
            driver.send_all("a", [tm.Record("k", value, 0) for value in batch])
            if again:
                for task in driver._tasks.values():
                    for key in task.discard():
                        task.caught_up(key, True)
        return driver.store("t").get("k")


@pytest.mark.parametrize("many", [0, 1, 50, 300])
def test_few_distinct_values_are_counted_exactly(many: int) -> None:
    values = [{"x": f"user {number % many}" if many else None} for number in range(max(many, 1) * 3)]
    assert folded({"n": tm.count_distinct("x")}, values) == {"n": many}


@pytest.mark.slow
@pytest.mark.parametrize("many", [2_000, 10_000])
def test_many_distinct_values_are_counted_within_five_percent(many: int) -> None:
    """Three standard errors: what is seen once in hundreds, and the values are the same each time."""
    values = [{"x": number * 7_919 if number % 2 else f"v{number}"} for number in range(many)]
    row = folded({"n": tm.count_distinct(lambda v: v["x"])}, values * 2)
    assert abs(row["n"] - many) < 0.05 * many


def test_values_are_distinct_as_in_python() -> None:
    values = [1, 1.0, True, 0, False, -0.0, "1", 1.5, [1], [1], [1, 2], None, 1 << 80, {"a": 1}]
    assert folded({"n": tm.count_distinct()}, values) == {"n": len({1, 0, "1", 1.5, "[1]", "[1,2]", 1 << 60, "{}"})}


def rank_error(values: list[float], q: float, found: float) -> float:
    below = sum(value < found for value in values) / len(values)
    up_to = sum(value <= found for value in values) / len(values)
    return max(below - q, q - up_to, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["uniform", "normal", "exponential", "few"])
def test_quantiles_are_close(shape: str) -> None:
    chance = random.Random(5)
    draw = {
        "uniform": chance.random,
        "normal": lambda: chance.gauss(0, 10),
        "exponential": lambda: chance.expovariate(0.1),
        "few": lambda: float(chance.randrange(5)),
    }[shape]
    values = [draw() for _ in range(20_000)]
    parts = [0, 0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1]
    row = folded({"q": tm.quantile(None, parts), "median": tm.quantile(None, 0.5)}, values)
    assert (row["q"][0], row["q"][-1], row["q"][4]) == (min(values), max(values), row["median"])
    for q, found in zip(parts, row["q"], strict=True):
        assert rank_error(values, q, found) < (0.02 if 0.01 < q < 0.99 else 0.002), (q, found)


def test_quantiles_of_nothing() -> None:
    assert folded({"q": tm.quantile("x", [0.5]), "r": tm.quantile("x", 0.5)}, [{"x": None}]) == {"q": [None], "r": None}
    assert folded({"q": tm.quantile(lambda v: float("nan") if v else 5, 0.5)}, [0, 1, 1]) == {"q": 5.0}


@examples(30)
@given(st.lists(st.none() | st.integers(0, 9)), st.integers(1, 5), st.booleans())
def test_top_is_the_head_of_a_sorted_list(ranks: list[int | None], n: int, again: bool) -> None:
    values = [{"rank": rank, "number": number} for number, rank in enumerate(ranks)]
    ranked = sorted((v for v in values if v["rank"] is not None), key=lambda v: v["rank"] or 0, reverse=True)[:n]
    row = folded({"top": tm.top(n, by="rank"), "numbers": tm.top(n, by="rank", field="number")}, values, again=again)
    assert row == ({"top": ranked, "numbers": [v["number"] for v in ranked]} if ranks else None)


columns = {
    "distinct": tm.count_distinct(),
    "quantile": tm.quantile(None, [0.1, 0.5]),
    "top": tm.top(3, by=lambda v: v),
    "n": tm.count(),
}


@examples(30)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_what_is_kept_and_restored_after_each_value_is_the_same(values: list[int]) -> None:
    assert folded(columns, values, again=True) == folded(columns, values)


@examples(30)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 100)), min_size=1, max_size=40))
def test_sessions_merge_what_their_parts_have(events: list[tuple[int, int]]) -> None:
    """Against a program in which each record is in the one session there is from the beginning."""
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key()
    stream.window(tm.session(gap=5, grace=1_000)).aggregate(**columns).named("t").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send_all("a", [tm.Record("k", value, time) for time, value in events])
        rows = {(key.start, key.end): row for key, row in driver.store("t").items()}
    sessions: list[list[tuple[int, int]]] = []
    for time, value in sorted(events):
        if sessions and time - sessions[-1][-1][0] <= 5:
            sessions[-1].append((time, value))
        else:
            sessions.append([(time, value)])
    for session in sessions:
        values = sorted(value for _, value in session)
        row = rows.pop((session[0][0], session[-1][0]))
        assert (row["n"], row["distinct"]) == (len(values), len(set(values)))
        assert row["top"] == values[::-1][:3]
        assert rank_error([float(v) for v in values], 0.5, row["quantile"][1]) <= 1 / len(values)
    assert rows == {}


def test_a_record_that_fails_leaves_sketches_as_they_were() -> None:
    def checked(value: int) -> int:
        if value == 13:
            raise ValueError("13")
        return value

    row = folded({**columns, "total": tm.sum(None), "checked": tm.max(checked)}, [1, 2, 13, 3])
    assert (row["distinct"], row["top"], row["quantile"][1]) == (3, [3, 2, 1], 2.0)
    mixed = {"distinct": tm.count_distinct(), "total": tm.sum(None)}  # the sum fails after the sketch has its value
    assert folded(mixed, [1, "x", 2]) == {"distinct": 2, "total": 3}


@pytest.mark.slow
def test_a_sketch_is_small() -> None:
    fold = columns_fold({"n": tm.count_distinct(), "q": tm.quantile(None, 0.5)})
    take, entry = fold.functions(show=False).take, None
    for value in range(50_000):
        entry, _ = take(entry, value, 0)
    assert entry is not None
    assert len(fold.keep(entry)) < 10_000
    assert fold.shown()((0, *fold.restore(fold.keep(entry)))) == fold.shown()(entry)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tm.quantile("x", 2), r"tm\.quantile: 2 is neither"),
        (lambda: tm.quantile("x", []), r"tm\.quantile: \[\] is neither"),
        (lambda: tm.top(0, by="x"), r"tm\.top: 0 is not a number of values"),
        (lambda: tm.top(3, by=untyped(None)), r"tm\.top: by= is"),
        (lambda: tm.top(3, by="x", field=untyped(5)), r"tm\.top: 5 is neither"),
        (lambda: tm.count_distinct(untyped(5)), r"tm\.count_distinct: 5 is neither"),
    ],
)
def test_mistakes(make: Any, message: str) -> None:
    with pytest.raises(tm.TopologyError, match=message):
        make()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    for make in (lambda: tm.count_distinct("x"), lambda: tm.quantile("x", 0.5)):
        with pytest.raises(tm.TopologyError, match=r"pip install 'tidemill\[sketches\]'"):
            make()
    assert tm.top(3, by="x").kind == "top"
