"""A program that starts with a backlog of eight hours: its results are those of a batch."""

from __future__ import annotations

import time

import pytest

import tidemill as tm
from tests.brokers import client
from tests.brokers.client import Row
from tests.support.backlogs import HOUR, START, events, expected
from tidemill.operators.serdes.keys import windowed_key

from .program import Life
from .stage import Stage

pytestmark = pytest.mark.timeout(240)

PARTITIONS = 4
LATER = START + 13 * HOUR
INTERNAL = ("revenue", "visits", "hours")


def fill(stage: Stage) -> tuple[dict[tuple[str, int], tuple[int, ...]], set[object], set[object]]:
    """Write the backlog, and records hours later that close all its windows. Return the expected results."""
    orders, payments, customers, share = events(7, PARTITIONS, 60)
    stage.topics("orders", "payments", "customers", *INTERNAL, partitions=PARTITIONS, config={"retention.ms": "-1"})
    country = [Row(key.encode(), tm.json.encode({"country": at}), timestamp=1) for key, at in [*customers, ("z", "zz")]]
    stage.send("customers", country)
    last = {"customer": "z", "amount": 0}
    for topic, records, more in (("orders", orders, last), ("payments", payments, {})):
        rows = [Row(r.key.encode(), tm.json.encode(r.value), at, r.timestamp) for at, r in records]
        rows += [Row(b"z", tm.json.encode(more), at, LATER) for at, many in enumerate(share) if many]
        stage.send(topic, rows)
    return expected(orders, payments, customers)


def check(stage: Stage, right: tuple[dict[tuple[str, int], tuple[int, ...]], set[object], set[object]]) -> None:
    revenue, visits, hours = right
    windows, sessions = windowed_key(tm.utf8, tm.tumbling("1h")), windowed_key(tm.utf8, tm.session(gap="20m"))
    fields = ("revenue", "orders", "unpaid")

    def found() -> tuple[list[object], list[object], list[object]]:
        rows = {topic: stage.read(topic) for topic in INTERNAL}
        return (
            [(windows.decode(r.key or b""), tm.json.decode(r.value or b"")) for r in rows["revenue"]],
            [(sessions.decode(r.key or b""), tm.json.decode(r.value or b"")) for r in rows["visits"]],
            [((r.key or b"").decode(), tm.json.decode(r.value or b""), r.timestamp) for r in rows["hours"]],
        )

    counts = len(revenue), len(visits), len(hours)
    client.wait_for(lambda: all(len(a) >= b for a, b in zip(found(), counts, strict=True)), 120, f"{counts} results")
    time.sleep(1)
    one, two, three = found()
    assert sorted(((k.key, k.start), tuple(v[f] for f in fields)) for k, v in one) == sorted(revenue.items())  # type: ignore[attr-defined]
    assert sorted((k.key, k.start, k.end, count) for k, count in two) == sorted(visits)  # type: ignore[arg-type, attr-defined]
    assert sorted(three) == sorted(hours)  # type: ignore[arg-type]


def start(stage: Stage, count: int, workers: int = 1) -> list[Life]:
    return [
        stage.program(
            "backlog.py",
            name=f"i{number}",
            commit_interval="100ms",
            session_timeout="6s",
            state_dir=stage.directory / f"i{number}" / "state",
            **({"workers": workers} if workers > 1 else {}),  # type: ignore[arg-type]
        ).start()
        for number in range(count)
    ]


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 1), (4, 1), (1, 2)])
def test_a_backlog_is_right(stage: Stage, processes: int, workers: int) -> None:
    right = fill(stage)
    lives = start(stage, processes, workers)
    check(stage, right)
    assert [life.stop() for life in lives] == [0] * processes
    assert not any("are late" in life.log for life in lives)


def test_a_backlog_is_right_even_if_processes_are_killed(stage: Stage) -> None:
    right = fill(stage)
    lives = start(stage, 2)
    for number in range(3):
        lives[number % 2].wait_for("is ready", 60)
        time.sleep(1 + number)
        lives[number % 2].kill()
        lives[number % 2] = stage.program(
            "backlog.py",
            name=f"again{number}",
            commit_interval="100ms",
            session_timeout="6s",
            state_dir=stage.directory / f"i{number % 2}" / "state",
        ).start()
    check(stage, right)
    assert [life.stop() for life in lives] == [0, 0]
