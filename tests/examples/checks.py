"""The expected results of the larger examples, computed with the standard library, SQLite and Polars."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest

import tidemill as tm

from .conftest import EXAMPLES

Driver = tm.testing.TopologyDriver
MINUTE = 60_000
DAY = 86_400_000


def async_http(example: Any, driver: Driver) -> None:
    with rates({"EUR": 1.0, "JPY": 0.006}) as url:
        example.RATES = url
        for item, amount, currency in [("lamp", 20, "EUR"), ("tea", 1500, "JPY"), ("pen", 2, "EUR")]:
            driver.send("orders", key=item, value=example.Order(item, amount, currency))
        priced = {record.key: record.value for record in driver.read("priced-orders")}
        assert priced == {item: example.Priced(item, euros) for item, euros in [("lamp", 20), ("tea", 9), ("pen", 2)]}
        with pytest.raises(tm.RecordError, match=r"in-euros.*404"):
            driver.send("orders", key="o4", value=example.Order("vase", 5, "XXX"))


@contextmanager
def rates(known: dict[str, float]) -> Iterator[str]:
    """Run a service with exchange rates, and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            rate = known.get(self.path.removeprefix("/"))
            self.send_response(404 if rate is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"euros": rate}).encode())

        def log_message(self, format: str, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def model_scoring(example: Any, driver: Driver) -> None:
    iris = example.iris
    for number, (a, b, c, d) in enumerate(iris.data.tolist()):
        driver.send("flowers", key=str(number), value=example.Flower((a, b), (c, d)))
    driver.send("flowers", key="torn", value=example.Flower((5.1, 3.5), (1.4, None)))
    driver.advance_wall_clock("200ms")
    labels = {int(record.key): record.value for record in driver.read("labelled")}
    assert [labels[number] for number in range(150)] == [
        iris.target_names[label] for label in example.model.predict(iris.data)
    ]
    assert sum(labels[number] == iris.target_names[label] for number, label in enumerate(iris.target)) >= 145
    assert driver.dropped == {("labels", "error"): 1}
    counts = {record.key: record.value for record in driver.read("counts")}
    assert sum(counts.values()) == 150


def fraud_alert(example: Any, driver: Driver) -> None:
    def send(card: str, minute: float, **event: Any) -> None:
        driver.send("card-events", key=card, value=example.Event(**event), timestamp=int(minute * MINUTE))

    for card in ("honest", "stolen", "silent"):
        send(card, 1, kind="payment", amount=0.5)
        send(card, 1.5, kind="payment", amount=900)
    send("slow", 1, kind="payment", amount=0.5)
    send("slow", 2.5, kind="payment", amount=900)  # more than a minute later
    send("honest", 3, kind="answer", mine=True)
    send("stolen", 4, kind="answer", mine=False)
    for card in ("honest", "stolen", "silent", "slow"):
        send(card, 20, kind="payment", amount=5)
    alerts = [record.value for record in driver.read("alerts")]
    assert sorted(alerts) == [
        "card honest: did you pay 900.00?",
        "card silent is blocked: no answer about 900.00",
        "card silent: did you pay 900.00?",
        "card stolen is blocked: its owner has not paid",
        "card stolen: did you pay 900.00?",
    ]
    refused = [record.value for record in driver.read("refused")]
    assert sorted(refused) == ["card silent is blocked", "card stolen is blocked"]


def click_sessions(example: Any, driver: Driver) -> None:
    with gzip.open(EXAMPLES / "clicks" / "ecom.csv.gz", "rt") as log:
        rows = sorted(csv.DictReader(log), key=lambda row: row["timestamp"])
    recorded: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        recorded.setdefault(row["session_id"], []).append(row)
    log_of_clicks = [(row["user_id"], row["event"], row["timestamp"]) for row in rows]
    log_of_clicks += [(row["user_id"], "robot", "2030-01-01 00:00:00") for row in rows]  # all visits are over by then
    driver.send_all("clicks", [tm.Record(click[0], example.Click(*click), 0) for click in log_of_clicks])
    found = {
        (visit.key.key, visit.value["clicks"], visit.key.start, visit.key.end): visit.value
        for visit in driver.read("visits")
    }

    def ms(row: dict[str, str]) -> int:
        return int(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=timezone.utc).timestamp() * 1000)

    assert len(found) == len(recorded) == 3605
    for visit in recorded.values():
        value = found[visit[0]["user_id"], len(visit), ms(visit[0]), ms(visit[-1])]
        assert value["purchases"] == sum(row["event"] == "purchase" for row in visit)
        assert (value["entry"], value["exit"]) == (visit[0]["event"], visit[-1]["event"])


def flights_and_weather(example: Any, driver: Driver) -> None:
    feed = flights_feed()
    until = int(datetime(2013, 1, 11, 5, tzinfo=timezone.utc).timestamp() * 1000)
    flown = [(event.time, json.loads(event.value)) for event in flights() if event.time < until]
    reports: list[tuple[int, str, float | None, float]] = []
    with (feed.data_folder() / "weather.csv").open() as text:
        for row in csv.DictReader(text):
            time = int(datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00")).timestamp() * 1000)
            if time < until:
                wind = None if row["wind_speed"] in ("", "NA") else float(row["wind_speed"])
                reports.append((time, row["origin"], wind, float(row["visib"])))
    names = feed.names("airlines.csv", "carrier")

    for carrier, name in names.items():
        driver.send("airlines", carrier, name, 0)
    events = [(time, "flights", None, example.Flight(**_flight(flight))) for time, flight in flown]
    events += [(time + 20 * MINUTE, "weather", origin, (time, rest)) for time, origin, *rest in reports]
    events.sort(key=lambda event: event[0])
    for topic, together in groupby(events, key=lambda event: event[1]):
        driver.send_all(
            topic,
            [
                tm.Record(key, value, time)
                if topic == "flights"
                else tm.Record(key, example.Weather(*value[1]), value[0])
                for time, _, key, value in together
            ],
        )
    for origin in ("EWR", "JFK", "LGA"):  # time goes on: what waits for its weather is sent
        driver.send("flights", None, example.Flight("UA", 0, origin, "-", None), until + DAY)
    found = {(record.key, record.timestamp, record.value.flight): record.value for record in driver.read("departures")}

    departures = pl.DataFrame(
        [(time, f["origin"], f"{f['carrier']}{f['number']}", f["carrier"], f["delay"]) for time, f in flown],
        schema=["time", "origin", "flight", "carrier", "delay"],
        orient="row",
    )
    weather = pl.DataFrame(reports, schema=["time", "origin", "wind", "visibility"], orient="row").sort("time")
    expected = departures.sort("time").join_asof(weather, on="time", by="origin", check_sortedness=False)
    assert expected.height == len(flown) > 8_000
    for row in expected.iter_rows(named=True):
        departure = found[row["origin"], row["time"], row["flight"]]
        assert (departure.wind, departure.visibility) == (row["wind"], row["visibility"]), row
        assert (departure.airline, departure.delay) == (names[row["carrier"]], row["delay"])


@cache
def flights() -> list[Any]:
    """Return all flights of the year."""
    return flights_feed().flights()


@cache
def flights_feed() -> Any:
    """Return the demonstration's reader of the flights' files."""
    spec = importlib.util.spec_from_file_location("flights_feed", EXAMPLES / "flights" / "feed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _flight(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("carrier", "number", "origin", "dest", "delay")}


def orders_and_customers(example: Any, driver: Driver) -> None:
    chance = random.Random(13)
    base = sqlite3.connect(":memory:")
    base.execute("create table customers (id integer primary key, name, country)")
    base.execute("create table orders (id integer primary key, customer, item, paid)")
    rows: dict[int, Any] = {}
    unpaid: dict[str, int] = {}
    for step in range(400):
        table, number = chance.choice([("customers", chance.randrange(6)), ("orders", chance.randrange(30))])
        if chance.random() < 0.2:
            base.execute(f"delete from {table} where id = ?", (number,))
            driver.send(table, number, None)
        elif table == "customers":
            customer = example.Customer(f"name {step}", chance.choice(["FR", "JP", "PE"]))
            base.execute("replace into customers values (?, ?, ?)", (number, customer.name, customer.country))
            driver.send(table, number, customer)
        else:
            order = example.Order(chance.randrange(6), f"item {step}", chance.random() < 0.3)
            base.execute("replace into orders values (?, ?, ?, ?)", (number, order.customer, order.item, order.paid))
            driver.send(table, number, order)
        for record in driver.read("orders-with-customers"):
            rows[record.key] = record.value
        for record in driver.read("unpaid-by-country"):
            unpaid[record.key] = record.value
        query = "select o.id, item, paid, name, country from orders o join customers c on c.id = o.customer"
        expected = {id: example.Row(item, bool(paid), *rest) for id, item, paid, *rest in base.execute(query)}
        assert {key: row for key, row in rows.items() if row is not None} == expected
        counted = base.execute(f"select country, count(*) from ({query}) where not paid group by country")
        assert {country: count for country, count in unpaid.items() if count} == dict(counted)


def own_target(example: Any, driver: Driver) -> None:
    driver.send("lines", value="To be or not to be")
    counts = {record.key: record.value for record in driver.read("counts-sqlite")}
    assert counts == {"to": 2, "be": 2, "or": 1, "not": 1}
    with TemporaryDirectory() as folder:
        target, task = example.Sqlite(f"{folder}/words"), tm.TargetTask("app", "sink", "topic", "id", 0)
        first = target.open(task, "first")
        assert first.position() is None
        first.write([tm.Record("be", 1, 5), tm.Record("or", 1, 5)], 2)
        second = target.open(task, "second")
        assert second.position() == 2
        for call in (first.position, lambda: first.write([tm.Record("to", 9, 5)], 3)):
            with pytest.raises(tm.TargetFenced):
                call()
        second.write([tm.Record("be", 2, 5), tm.Record("or", None, 5)], 4)
        second.database.execute("begin immediate")
        first.database.execute("pragma busy_timeout = 1")
        with pytest.raises(tm.TargetUnavailable):
            first.position()
        second.database.rollback()
        assert second.position() == 4
        assert second.database.execute("select * from counts").fetchall() == [("be", 2)]
        first.close()
        second.close()
