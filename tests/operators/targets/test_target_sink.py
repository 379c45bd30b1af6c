"""Tests of target sinks: the topic that they read, the limit of pending records, and the test driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.targets import target_sink
from tidemill.operators.targets.target_sink import MOST_WAITING, TargetSink


class Nowhere(tm.Target):
    kind = "nowhere"

    def __init__(self) -> None:
        self.given: tm.TargetInput | None = None

    def accept(self, given: tm.TargetInput) -> tm.Target:
        self.given = given
        return self

    def open(self, task: tm.TargetTask, epoch: str) -> tm.TargetSession:
        raise NotImplementedError


def reads(app: tm.App) -> list[tuple[str, ...]]:
    with tm.testing.TopologyDriver(app) as driver:
        return [part.reads for part in driver.plan.subtopologies]


def test_a_topic_that_nothing_else_reads_is_read_as_it_is() -> None:
    app = tm.App("app")
    views = app.stream("views")
    views.sink(Nowhere()).named("one")
    views.sink(Nowhere()).named("two")
    assert reads(app) == [("views",)]
    app.stream("other").repartition().sink(Nowhere()).named("three")
    assert reads(app) == [("views",), ("other",), ("app-other-repartition",)]


def test_otherwise_a_topic_is_made_for_the_sink() -> None:
    app = tm.App("app")
    views = app.stream("views", key=tm.utf8)
    views.sink(Nowhere()).named("one")
    views.to("copy")
    views.filter(bool).sink(Nowhere()).named("filtered")
    app.stream(["a", "b"]).sink(Nowhere()).named("two-topics")
    made = {"app-one-repartition", "app-filtered-repartition", "app-two-topics-repartition"}
    assert {topic for part in reads(app) for topic in part if topic.startswith("app-")} == made


def test_a_target_has_the_types_of_its_records() -> None:
    app = tm.App("app")
    target = Nowhere()
    table = app.stream("views", key=tm.utf8).group_by_key().window(tm.tumbling("1m")).count().named("counts")
    end = table.sink(target)
    assert target.given == tm.TargetInput(key=tm.utf8, value=None, windowed=True, table=True)
    assert end.reference.step.kind == "nowhere"
    assert "counts-nowhere" in {node.name for node in app.topology().nodes}


def test_the_driver_keeps_what_is_written() -> None:
    app = tm.App("app")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    views.group_by_key().count().named("counts").sink(Nowhere())
    views.sink(Nowhere()).named("all")
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        driver.send_all("views", [tm.Record("a", n, n) for n in range(3)])
        assert [record.value for record in driver.read("counts-nowhere")] == [1, 2, 3]
        assert [(record.key, record.value, record.timestamp) for record in driver.read("all")] == [
            ("a", n, n) for n in range(3)
        ]
        assert driver.read("all") == []
        with pytest.raises(KeyError):
            driver.read("al")


class Holding:
    staged = None
    failed = False

    """Ends no write."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, int]] = []

    def write(self, records: Sequence[tm.Record[Any, Any]], position: int) -> None:
        self.writes.append((len(records), position))

    def outcome(self) -> Mapping[int, Exception] | None:
        return None

    def close(self) -> None: ...


def test_what_waits_is_limited_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, writer = TargetSink("sink"), Holding()
    sink.writes_to(writer)
    sink.process([tm.Record("k", "small", 1, (), offset) for offset in range(1_000)], 0)
    assert (sink.room, sink.waiting, sink.unwritten) == (MOST_WAITING - 1_000, 1_000, 0)
    assert writer.writes == [(1_000, 1_000)]
    sink.process([tm.Record("k", "x" * 1_000_000, 1, (), 1_000)], 0)
    assert sink.room < 0
    monkeypatch.setattr(target_sink, "MOST_BYTES", 1)
    empty = TargetSink("sink")
    empty.writes_to(writer)
    assert empty.room == 1, "a record of any size can be written"
