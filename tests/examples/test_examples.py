"""Tests of the numbered examples, run by the test driver without a broker, and of the rules for them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm

from . import checks
from .conftest import EXAMPLES, Load

Driver = tm.testing.TopologyDriver
NUMBERED = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
MINUTE = 60_000
OTHERS = {"aiohttp", "msgspec", "sklearn"}
"""What examples may import beside Tidemill and the standard library: the extra `examples` has it."""
LONG = {"09_model_scoring": "scikit-learn", "12_flights_and_weather": "flights"}
"""Examples that read a year of flights or train a model, with the group of tests that shares what they load."""


def first_program(example: Any, driver: Driver) -> None:
    view = example.View
    driver.send("views", key="a", value=view("u1", "buy", 5.0), timestamp=1_000)
    driver.send("views", key="b", value=view("u1", "cart", 9.0), timestamp=2_000)
    driver.send("views", key="c", value=view("u1", "view", 2.5), timestamp=3_000)
    driver.send("views", key="d", value=view("u2", "buy", 1.0), timestamp=MINUTE)
    rows = [(record.key, record.value) for record in driver.read("totals")]
    assert rows == [
        (tm.Windowed("u1", 0, MINUTE), {"count": 1, "total": 5.0}),
        (tm.Windowed("u1", 0, MINUTE), {"count": 2, "total": 7.5}),
        (tm.Windowed("u2", MINUTE, 2 * MINUTE), {"count": 1, "total": 1.0}),
    ]
    assert driver.store("totals").get(tm.Windowed("u1", 0, MINUTE))["count"] == 2


def word_count(example: Any, driver: Driver) -> None:
    driver.send("lines", value="To be, or not to be")
    driver.send("lines", value="not now")
    counts = {record.key: record.value for record in driver.read("word-counts")}
    assert counts == {"to": 2, "be": 2, "or": 1, "not": 2, "now": 1}


def windows(example: Any, driver: Driver) -> None:
    for celsius, minute in [(20.0, 1), (22.0, 4), (30.0, 5), (18.0, 2), (31.0, 5.5), (99.0, 3)]:
        driver.send("readings", key="roof", value=example.Reading("roof", celsius, int(minute * MINUTE)))
    newest = {record.key.start: record.value for record in driver.read("climate")}
    assert newest[0] == {"readings": 3, "coldest": 18.0, "warmest": 22.0, "mean": 20.0}
    assert newest[5 * MINUTE]["warmest"] == 31.0
    assert driver.dropped["climate", "late"] == 1  # 99 degrees, after minute 5 and a half


def processor(example: Any, driver: Driver) -> None:
    def pay(country: str, amount: int, minute: int) -> None:
        driver.send("payments", key="4711", value=example.Payment(country, amount), timestamp=minute * MINUTE)

    pay("FR", 400, 0)
    pay("JP", 10, 20)
    pay("JP", 20, 30)
    pay("FR", 700, 200)  # hours later: nothing strange about it
    assert [record.value for record in driver.read("warnings")] == ["card 4711: FR and JP within 20 minutes"]
    assert [record.value for record in driver.read("large-sums")] == [{"country": "FR", "spent": 1100}]


def split_merge(example: Any, driver: Driver) -> None:
    for level, text in [("info", "up"), ("error", "down"), ("debug", "zzz"), ("info", "up again")]:
        driver.send("web-log", key="k", value=example.Message(level, text))
    assert [record.value for record in driver.read("readable")] == ["up", "!! down", "up again"]
    assert [record.value["text"] for record in driver.read("urgent")] == ["down"]


def table(example: Any, driver: Driver) -> None:
    price = example.Price
    for value in (price(995, "EUR"), price(1095, "EUR"), price(1095, "USD"), None):
        driver.send("prices", key="lamp", value=value)
    assert [record.value for record in driver.read("euro-prices")] == ["9.95", "10.95", None]


def errors(example: Any, driver: Driver) -> None:
    for pieces in (2, 0, 5):
        driver.send("orders", key="k", value=example.Order("lamp", 1000, pieces))
    assert [record.value for record in driver.read("prices-per-piece")] == [500.0, 200.0]


CHECKS: dict[str, Callable[[Any, Driver], None]] = {
    "01_first_program.py": first_program,
    "02_word_count.py": word_count,
    "03_windows.py": windows,
    "04_processor.py": processor,
    "05_split_merge.py": split_merge,
    "06_table.py": table,
    "07_errors.py": errors,
    "08_async_http.py": checks.async_http,
    "09_model_scoring.py": checks.model_scoring,
    "10_fraud_alert.py": checks.fraud_alert,
    "11_click_sessions.py": checks.click_sessions,
    "12_flights_and_weather.py": checks.flights_and_weather,
    "13_orders_and_customers.py": checks.orders_and_customers,
    "14_own_target.py": checks.own_target,
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            marks=[
                pytest.mark.xdist_group(LONG.get(path.stem, path.stem)),
                *([pytest.mark.slow] if path.stem in LONG else []),
            ],
        )
        for path in NUMBERED
    ],
    ids=lambda path: path.name,
)
@pytest.mark.parametrize("partitions", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_example(path: Path, partitions: int, load: Load) -> None:
    example = load(path.name)
    with Driver(example.app, partitions=partitions) as driver:
        CHECKS[path.name](example, driver)


@pytest.mark.parametrize("path", [*NUMBERED, EXAMPLES / "flights" / "app.py"], ids=lambda path: path.name)
def test_examples_are_short_and_import_public_names_only(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) < 120
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("tidemill"), "import tidemill as tm, and nothing below it"
            imported = [node.module or ""]
        elif isinstance(node, ast.Import):
            imported = [name.name for name in node.names]
        else:
            continue
        for name in imported:
            assert name.partition(".")[0] in {"tidemill", *OTHERS} | sys.stdlib_module_names
        assert all("tidemill." not in name for name in imported)
