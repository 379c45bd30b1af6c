"""Property tests of backlogs: results are those of a live run, with any number of processes, order and kills."""

from __future__ import annotations

import random

import pytest

import tidemill as tm
from tests.integration.programs.backlog import program
from tests.support.backlogs import HOUR, MINUTE, START, events, expected

from ...support.in_memory_group import Crew


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_any_processes_and_any_interleaving_give_what_a_batch_gives(seed: int) -> None:
    draw = random.Random(seed)
    orders, payments, customers, _ = events(seed, 4, 25)
    crew = Crew(program("", tm.bounded("30s", idle="5s")), 4, draw.choice((1, 2, 4)), seed)
    crew.send("customers", [tm.Record(key, {"country": country}, 0) for key, country in customers])
    for number in range(4):
        crew.send("orders", [record for at, record in orders if at == number], number)
        crew.send("payments", [record for at, record in payments if at == number], number)
    kills = draw.choice((0, 0.002, 0.02))
    for _ in range(400):
        crew.step(kills)
    crew.settle()
    crew.wait(4 * HOUR, 5 * MINUTE)
    revenue, visits, hours = expected(orders, payments, customers)
    windowed = next(sink for sink in crew.plan.topology.sinks if sink.topic == "revenue")
    found = {
        (k.key, k.start): (v["revenue"], v["orders"], v["unpaid"])
        for k, v, _ in crew.read("revenue", windowed.key, windowed.value)  # type: ignore[arg-type]
    }
    crew.finish()
    assert crew.dropped == {}
    assert found == revenue
    windowed = next(sink for sink in crew.plan.topology.sinks if sink.topic == "visits")
    assert {(k.key, k.start, k.end, v) for k, v, _ in crew.read("visits", windowed.key, windowed.value)} == visits  # type: ignore[arg-type]
    assert set(crew.read("hours", tm.utf8, tm.json)) == hours


def look_ups(as_of: bool) -> tm.App:
    """Orders find the price of their item; prices come under another key, through a repartition."""
    app = tm.App("lookups")
    prices = app.stream("prices", key=tm.utf8, value=tm.json).with_key(lambda price: price["item"], key=tm.utf8)
    table = prices.to_table(history="10h" if as_of else None).named("prices-by-item")
    orders = app.stream("orders", key=tm.utf8, value=tm.json)
    joined = orders.join(table, lambda order, price: price and price["at"], how="left", as_of=as_of)  # type: ignore[arg-type, call-overload]
    joined.to("out", value=tm.json)
    return app


@pytest.mark.parametrize("as_of", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_finds_the_row_of_its_time(as_of: bool, seed: int) -> None:
    """With `as_of` the very row; a plain join never one that is older."""
    draw = random.Random(seed)
    crew = Crew(look_ups(as_of), 4, draw.choice((1, 2, 4)), seed)
    items = [f"i{number}" for number in range(12)]
    changes = {item: sorted(draw.sample(range(START, START + 8 * HOUR), 15)) for item in items}
    for number, item in enumerate(items):  # some tasks upstream have a much longer backlog than others
        for _ in range(15 if number % 4 == 0 else 1):
            crew.send("prices", [tm.Record(item, {"item": "other", "at": 0}, START)], number % 4)
    for time, number in sorted((time, number) for number, item in enumerate(items) for time in changes[item]):
        crew.send("prices", [tm.Record("p", {"item": items[number], "at": time}, time)], number % 4)
    orders = [tm.Record(item, {}, time) for item in items for time in draw.sample(range(START, START + 8 * HOUR), 20)]
    crew.send("orders", sorted(orders, key=lambda record: record.timestamp))
    for _ in range(200):
        crew.step(draw.choice((0, 0.02)))
    crew.settle()
    found = crew.read("out", tm.utf8, tm.json)
    crew.finish()
    assert sorted((item, time) for item, _, time in found) == sorted(
        (record.key, record.timestamp) for record in orders
    )
    for item, at, time in found:
        right = max((change for change in changes[item] if change <= time), default=None)
        assert at == right if as_of else (at or 0) >= (right or 0)
