"""Tests of `deduplicate` against a list of all records that were passed on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.untyped import untyped

WITHIN = 10


def driver(by: Any = None) -> tm.testing.TopologyDriver:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json)
    stream.deduplicate(WITHIN, by=by).named("d").to("out", value=tm.json)
    return tm.testing.TopologyDriver(app)


records = st.tuples(st.sampled_from([None, "k", "l"]), st.none() | st.integers(0, 2), st.integers(0, 120))


@given(st.lists(records, max_size=40), st.booleans())
def test_it_passes_on_the_first_within_the_time(sent: list[Any], by: bool) -> None:
    passed: list[tuple[Any, int]] = []
    expected: list[Any] = []
    time = -1
    for key, value, timestamp in sent:
        if key is None:
            continue
        time = max(time, timestamp)
        kind = (key, value) if by else key
        passed = [(mine, at) for mine, at in passed if at + 2 * WITHIN >= time]
        if by and value is None:
            expected.append((key, value, timestamp))
        elif not any(mine == kind and abs(at - timestamp) <= WITHIN for mine, at in passed):
            expected.append((key, value, timestamp))
            passed.append((kind, timestamp))
    with driver((lambda value: value) if by else None) as running:
        running.send_all("a", [tm.Record(*each) for each in sent])
        assert [(record.key, record.value, record.timestamp) for record in running.read("out")] == expected
        nulls = sum(key is None for key, _, _ in sent)
        assert sum(running.dropped.values()) == len(sent) - len(expected)
        assert running.dropped.get(("d", "null key"), 0) == nulls


def test_state_of_passed_records_expires() -> None:
    with driver() as running:
        for time in range(0, 3_000, 3):
            running.send("a", f"k{time}", 1, time)
        assert len(running.store("d")) <= (2 * WITHIN + 1) // 3 + 2


def test_groups_are_deduplicated_where_they_meet() -> None:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json)
    stream.group_by(lambda value: value["id"]).deduplicate("1m").named("d").to("out", key=tm.utf8)
    with tm.testing.TopologyDriver(app, partitions=4) as running:
        for number in range(20):
            running.send("a", f"k{number}", {"id": f"{number % 3}", "number": number}, number)
        assert sorted(record.value["number"] for record in running.read("out")) == [0, 1, 2]


def test_mistakes() -> None:
    stream = tm.App("test").stream("a")
    with pytest.raises(tm.TopologyError, match=r"\.deduplicate\(within=\): 'x' is not a duration"):
        stream.deduplicate("x")
    with pytest.raises(tm.TopologyError, match=r"\.deduplicate\(by=\) takes a function"):
        stream.deduplicate("1m", by=untyped("id"))
