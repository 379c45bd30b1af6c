"""Tests of joins with a table as of a time, against a model with all versions; and of errors."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped
from tests.support.version_models import HISTORY, Put, Versioned


class Sent(NamedTuple):
    topic: str
    key: str
    value: int | None
    time: int


inputs = st.lists(
    st.builds(Sent, st.sampled_from("st"), st.sampled_from("kl"), st.none() | st.integers(0, 9), st.integers(0, 60)),
    min_size=1,
    max_size=30,
)


def expected(sent: list[Sent], left: bool, grace: int) -> list[Any]:
    """What each input causes, from all that came before it."""
    rows = Versioned()
    time = -1
    waiting: list[tuple[int, str, int, int]] = []
    found: list[Any] = []

    def join(key: str, value: int, at: int) -> None:
        row = rows.as_of(key, at)
        if row is not None or left:
            found.append((key, [value, None if row is None else row.value], at))

    for number, (topic, key, value, at) in enumerate(sent):
        if topic == "t":
            rows.put(Put(key, value, at))
            continue
        if value is None:
            continue
        if at < time - grace:
            join(key, value, at)
        else:
            time = max(time, at)
            waiting.append((at, key, number, value))
        for entry in sorted(entry for entry in waiting if entry[0] <= time - grace):
            waiting.remove(entry)
            join(entry[1], entry[3], entry[0])
    return found


@examples(80)
@given(inputs, st.sampled_from(["inner", "left"]), st.sampled_from([0, 1, 12, HISTORY]))
def test_records_meet_the_rows_of_their_time(sent: list[Sent], how: Literal["inner", "left"], grace: int) -> None:
    app = tm.App("test")
    table = app.table("t", key=tm.utf8, value=tm.json, history=HISTORY)
    stream = app.stream("s", key=tm.utf8, value=tm.json)
    if how == "inner":
        joined = stream.join(table, lambda v, row: [v, row], as_of=True, grace=grace)
    else:
        joined = stream.join(table, lambda v, row: [v, row], as_of=True, grace=grace, how="left")
    joined.named("j").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for topic, key, value, time in sent:
            driver.send(topic, key, value, time)
        assert [(r.key, r.value, r.timestamp) for r in driver.read("out")] == expected(sent, how == "left", grace)


def test_records_wait_with_their_headers_and_a_failed_one_blocks_no_other() -> None:
    app = tm.App("test", on_error=tm.skip)
    rates = app.table("rates", key=tm.utf8, value=tm.int64, history=60)
    orders = app.stream("orders", key=tm.utf8, value=tm.int64)
    orders.join(rates, lambda amount, rate: amount // rate, as_of=True, grace=10).named("j").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for key, rate in (("a", 2), ("b", 0), ("c", 5)):
            driver.send("rates", key, rate, 0)
        for key in "abc":
            driver.send("orders", key, 10, 5, headers=(("from", key.encode()),))
        driver.send("orders", "a", 10, 15)
        found = [(record.key, record.value, record.headers) for record in driver.read("out")]
        assert found == [("a", 5, (("from", b"a"),)), ("c", 2, (("from", b"c"),))]
        assert driver.dropped == {("j", "error"): 1}
        driver.send("orders", "a", 10, 25)
        assert [(record.key, record.timestamp) for record in driver.read("out")] == [("a", 15)]


def test_a_stream_without_keys_is_joined_with_nothing_on_the_left() -> None:
    app = tm.App("test")
    rates = app.table("rates", key=tm.utf8, value=tm.int64, history=60)
    orders = app.stream("orders", key=tm.utf8, value=tm.int64)
    orders.join(rates, lambda v, rate: [v, rate], as_of=True, how="left", grace=5).named("j").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("orders", None, 1, 5)
        assert [(record.key, record.value) for record in driver.read("out")] == [(None, [1, None])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": None}, "needs a table with a history"),
        ({"history": 10, "grace": 11}, "at least as long as the grace"),
        ({"history": 10, "how": "outer"}, "'inner', 'left' here"),
        ({"history": 10, "within": 5}, "takes no within="),
        ({"history": 10, "as_of": False, "grace": 5}, "without as_of=True, takes no grace="),
    ],
)
def test_mistakes_are_found_while_the_program_is_built(options: dict[str, Any], message: str) -> None:
    app = tm.App("test")
    table = app.table("t", key=tm.utf8, value=tm.json, history=options.pop("history"))
    stream: Any = app.stream("s", key=tm.utf8, value=tm.json)
    with pytest.raises(tm.TopologyError, match=message):
        stream.join(table, max, **{"as_of": True, **options})


def test_what_is_made_of_a_table_has_no_history() -> None:
    app = tm.App("test")
    table = app.table("t", key=tm.utf8, value=tm.json, history="1h")
    with pytest.raises(tm.TopologyError, match="has no history"):
        app.stream("s").join(untyped(table.filter(bool)), max, as_of=untyped(True))
