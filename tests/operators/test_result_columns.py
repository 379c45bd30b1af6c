"""Results in columns: what a sink writes is what it writes of records."""

from __future__ import annotations

import random
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.graph.result_columns import ResultColumns
from tidemill.operators.record import Record, Windowed

WINDOWS: dict[str, Any] = {
    "none": None,
    "tumbling": tm.tumbling("10ms", grace="20ms"),
    "hopping": tm.hopping("20ms", every="5ms", grace="20ms"),
    "calendar": tm.calendar("day"),
}
FOLDS: dict[str, Any] = {
    "count": lambda grouped: grouped.count(),
    "columns": lambda grouped: grouped.aggregate(count=tm.count(), total=tm.sum("amount")),
    "function": lambda grouped: grouped.aggregate(0, lambda total, value: total + value["amount"]),
    "deleting": lambda grouped: grouped.aggregate(
        0, lambda total, value: total + value["amount"] if value["amount"] % 5 else None
    ),
}


def program(window: Any, fold: str, *, records: bool, value: Any = None) -> tm.App:
    """Return a program; with `records`, a second reader of the results keeps them from being columns."""
    app = tm.App("test")
    grouped = app.stream("in", key=tm.utf8, value=tm.json).group_by_key()
    table = FOLDS[fold](grouped if window is None else grouped.window(window)).named("results")
    table.to("out", value=value)
    if records:
        table.to_stream().filter(lambda value: value is None).to("others", value=tm.json)
    return app


def written(app: tm.App, seed: int) -> list[Record[Any, Any]]:
    chance = random.Random(seed)
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        for number in range(120):
            headers = (("h", b"%d" % number),) if chance.random() < 0.2 else ()
            time = number + chance.randrange(-25, 5)
            value = {"amount": chance.randrange(20)}
            driver.send("in", key=f"k{chance.randrange(9)}", value=value, timestamp=max(0, time), headers=headers)
        return driver.read("out")


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("fold", FOLDS)
def test_a_sink_writes_columns_as_records(window: str, fold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    init = ResultColumns.__init__
    monkeypatch.setattr(ResultColumns, "__init__", lambda self, end=None: (made.append(1), init(self, end))[1])
    found = written(program(WINDOWS[window], fold, records=False), 7)
    assert made
    made.clear()
    assert found == written(program(WINDOWS[window], fold, records=True), 7)
    assert not made
    assert len(found) > 50


@pytest.mark.parametrize("window", ["none", "tumbling"])
def test_a_result_that_cannot_be_written_is_the_sinks_failure(window: str) -> None:
    """The results before and after it are written."""
    program_of = program(WINDOWS[window], "count", records=False, value=Even())
    program_of.on_error = tm.skip
    with tm.testing.TopologyDriver(program_of) as driver:
        for number in range(4):
            driver.send("in", key="k", value={}, timestamp=number)
        assert [record.value for record in driver.read("out")] == [2, 4]
    program_of = program(WINDOWS[window], "count", records=False, value=Even())
    with (
        tm.testing.TopologyDriver(program_of) as driver,
        pytest.raises(tm.RecordError, match=r"step 'to-out'.*cannot write.*key 'k'|to-out"),
    ):
        driver.send("in", key="k", value={}, timestamp=0)


class Even(tm.Serde[int]):
    """Writes even numbers only."""

    def encode(self, value: int, /) -> bytes:
        if value % 2:
            raise ValueError("odd")
        return tm.int64.encode(value)

    def decode(self, data: bytes, /) -> int:
        return tm.int64.decode(data)


def test_columns_are_a_sequence_of_records() -> None:
    results = ResultColumns(lambda start: start + 10)
    causes = [Record("c", None, 5, (("h", b"1"),), 7), Record("c", None, 6, (), 8)]
    for cause, key in zip(causes, "ab", strict=True):
        for add, part in zip(results.adding, (key, 20, cause.offset, cause.timestamp, cause), strict=True):
            add(part)
    records = [
        Record(Windowed("a", 20, 30), 7, 5, (("h", b"1"),), 7),
        Record(Windowed("b", 20, 30), 8, 6, (), 8),
    ]
    assert list(results) == records
    assert results[1:] == records[1:]
    assert results[-1] == records[-1]
    assert results + records == records + results == records * 2
    assert bool(results)
    assert not ResultColumns()
