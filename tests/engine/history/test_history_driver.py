"""Streams with a history in the `TopologyDriver`: what rows become, and what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tidemill as tm


class View(msgspec.Struct):
    user: str
    kind: str
    amount: float


COLUMNS: Mapping[str, Any] = {
    "user": ["u1", "u2", "u1"],
    "kind": ["buy", "cart", "buy"],
    "amount": [3.0, 2.0, 1.0],
    "at": pa.array([30, 20, 10], pa.timestamp("ms")),
}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    pq.write_table(pa.table(dict(COLUMNS)), tmp_path / "a.parquet")
    return tmp_path


def driven(app: tm.App, **arguments: Any) -> list[tuple[Any, Any, int]]:
    with tm.testing.TopologyDriver(app, **arguments) as driver:
        return [(record.key, record.value, record.timestamp) for record in driver.read("out")]


def test_rows_become_records_in_the_order_of_their_times(lake: Path) -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json(View), history=tm.history(f"file://{lake}", key="user"))
    views.map(lambda view: view.amount).to("out", value=tm.float64)
    assert driven(app) == [("u1", 1.0, 10), ("u2", 2.0, 20), ("u1", 3.0, 30)]


def test_the_topic_follows_the_history(lake: Path) -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json(View), history=f"file://{lake}/*.parquet")
    views.group_by(lambda view: view.user, key=tm.utf8).aggregate(spent=tm.sum("amount")).named("spent").to("out")
    with tm.testing.TopologyDriver(app, partitions=3) as driver:
        driver.send("views", key="u1", value=View("u1", "buy", 5.0), timestamp=40)
        assert driver.store("spent").get("u1") == {"spent": 9.0}
        assert driver.store("spent").get("u2") == {"spent": 2.0}


def test_windows_and_watermarks_go_on_from_the_history(lake: Path) -> None:
    """The results are those of a program whose topic has everything."""
    times = pa.array([30_000, 20_000, 10_000], pa.timestamp("ms"))
    pq.write_table(pa.table({**COLUMNS, "at": times}), lake / "a.parquet")
    live = [("buy", 5.0, 20_000), ("buy", 6.0, 60_000), ("cart", 7.0, 99_000)]
    found: list[list[tuple[Any, Any]]] = []
    for history in (f"file://{lake}", None):
        app = tm.App("views")
        views = app.stream("views", value=tm.json(View), history=history, watermark=tm.bounded("1s"))
        windows = (
            views.group_by(lambda view: view.kind, key=tm.utf8).window(tm.tumbling("25s", grace="0s")).emit("close")
        )
        windows.aggregate(spent=tm.sum("amount")).named("windows").to("out", value=tm.json)
        with tm.testing.TopologyDriver(app) as driver:
            old = [] if history else [("buy", 1.0, 10_000), ("cart", 2.0, 20_000), ("buy", 3.0, 30_000)]
            for kind, amount, at in [*old, *live]:
                driver.send("views", value=View("u1", kind, amount), timestamp=at)
            found.append([(record.key, record.value) for record in driver.read("out")])
            assert sum(driver.dropped.values()) == 1
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_folders_are_columns_of_the_values(lake: Path) -> None:
    (lake / "kind=cart").mkdir()
    (lake / "a.parquet").unlink()
    table = pa.table({name: column for name, column in COLUMNS.items() if name != "kind"})
    pq.write_table(table, lake / "kind=cart" / "a.parquet")
    app = tm.App("views")
    views = app.stream("views", value=tm.json(View), history=f"file://{lake}")
    views.map(lambda view: view.kind).to("out", value=tm.utf8)
    assert [value for _, value, _ in driven(app)] == ["cart"] * 3


def test_values_of_one_column_and_times_in_the_value(lake: Path) -> None:
    app = tm.App("views")
    history = tm.history(f"file://{lake}", columns="amount", timestamp="at")
    app.stream("views", value=tm.float64, history=history).to("out", value=tm.float64)
    assert [value for _, value, _ in driven(app)] == [1.0, 2.0, 3.0]
    app = tm.App("views")
    pq.write_table(pa.table({"n": [2, 1], "s": ["x", "y"]}), lake / "a.parquet")
    rows = app.stream("views", value=tm.json, timestamp=lambda row: row["n"], history=f"file://{lake}")
    rows.to("out", value=tm.json)
    assert driven(app) == [(None, {"n": 2, "s": "x"}, 2), (None, {"n": 1, "s": "y"}, 1)]


def test_until_leaves_out_later_rows(lake: Path) -> None:
    app = tm.App("views")
    until = dt.datetime.fromtimestamp(0.02, dt.timezone.utc)
    views = app.stream("views", value=tm.json(View), history=f"file://{lake}", until=until)
    views.map(lambda view: view.amount).to("out", value=tm.float64)
    assert [value for _, value, _ in driven(app)] == [1.0]


def test_two_histories_are_joined_in_the_order_of_their_times(lake: Path, tmp_path: Path) -> None:
    prices = {"key": ["u1", "u1"], "value": [5, 7], "at": pa.array([5, 25], pa.timestamp("ms"))}
    (tmp_path / "prices").mkdir()
    pq.write_table(pa.table(prices), tmp_path / "prices" / "p.parquet")
    app = tm.App("views")
    history = tm.history(f"file://{lake}/*.parquet", key="user")
    views = app.stream("views", key=tm.utf8, value=tm.json(View), history=history)
    changes = app.stream("prices", key=tm.utf8, value=tm.int64, history=f"file://{tmp_path}/prices")
    views.join(changes.to_table(), lambda view, price: view.amount * price).to("out", value=tm.float64)
    assert driven(app, partitions=2) == [("u1", 5.0, 10), ("u1", 21.0, 30)]


def test_a_row_that_does_not_fit_is_an_error_of_its_record(lake: Path) -> None:
    pq.write_table(pa.table({**COLUMNS, "amount": ["3", "two", "1"]}), lake / "a.parquet")
    for policy in (tm.fail, tm.skip):
        app = tm.App("views", on_error=policy)
        views = app.stream("views", value=tm.json(View), history=f"file://{lake}")
        views.map(lambda view: view.amount).to("out", value=tm.float64)
        if policy is tm.skip:
            assert [value for _, value, _ in driven(app)] == [1.0, 3.0]
            continue
        with pytest.raises(tm.RecordError, match=r"file a\.parquet, row group 0, row 1: .*amount"):
            driven(app)


def refused(lake: Path, message: str, history: Any = None, value: Any = None, **more: Any) -> None:
    def run() -> None:
        app = tm.App("views")
        views = app.stream("views", value=value or tm.json, history=history or f"file://{lake}", **more)
        views.to("out", value=tm.json)
        driven(app)

    with pytest.raises(tm.TopologyError, match=message):
        run()


def test_what_makes_no_sense_is_refused(lake: Path) -> None:
    url = f"file://{lake}"
    refused(lake, "no column 'when', the event time; its columns are", tm.history(url, timestamp="when"))
    refused(lake, "no column 'usr', the key; did you mean", tm.history(url, key="usr"))
    refused(lake, "'user' is string, and an event time is", tm.history(url, timestamp="user"))
    refused(lake, "no such Parquet file", f"{url}/*.parq")
    refused(lake, "has no time zone", until=dt.datetime(2026, 1, 1))  # noqa: DTZ001
    refused(lake, "neither an aware datetime nor offsets", until="yesterday")
    refused(lake, "reads a single value", value=tm.utf8)
    refused(lake, "unknown scheme", "ftp://lake/views")
    pq.write_table(pa.table({"user": ["a"]}), lake / "b.parquet")
    refused(lake, "file b.parquet: it is not clear which column has the event time")
    (lake / "b.parquet").write_bytes(b"no")
    refused(lake, "file b.parquet: ")
    app = tm.App("views")
    with pytest.raises(tm.TopologyError, match="history= is for one topic"):
        app.stream(["a", "b"], history=url)
    with pytest.raises(tm.TopologyError, match="give history= too"):
        app.stream("c", until={0: 1})
