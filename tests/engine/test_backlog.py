"""A backlog gives what live would have given: any number of processes, any interleaving, any of them killed."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

import tidemill as tm

from .crew import Crew

HOUR, MINUTE = 3_600_000, 60_000
START = 1_700_000_000_000 // HOUR * HOUR
COUNTRIES = ("at", "de", "fr", "it")


class Hours(tm.Processor[str, Any, Any]):
    """Tells at the end of each hour how many orders a customer has placed in it."""

    orders = tm.MapState(str, int)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        hour = ctx.timestamp // HOUR * HOUR
        self.orders[str(hour)] = self.orders.get(str(hour), 0) + 1
        ctx.timer(str(hour), at=hour + HOUR)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        orders = self.orders[name]
        del self.orders[name]
        return [orders]


def program(watermark: tm.Watermark) -> tm.App:
    app = tm.App("backlog")
    orders = app.stream("orders", key=tm.utf8, value=tm.json, watermark=watermark)
    payments = app.stream("payments", key=tm.utf8, value=tm.json, watermark=watermark)
    paid = orders.join(payments, lambda order, paid: {**order, "paid": paid is not None}, within="10m", how="left")
    customers = app.table("customers", key=tm.utf8, value=tm.json)
    known = paid.with_key(lambda order: order["customer"], key=tm.utf8).join(
        customers, lambda order, customer: {**order, "country": customer["country"]}
    )
    windows = known.group_by(lambda order: order["country"], key=tm.utf8).window(tm.tumbling("1h", grace="2m"))
    windows.emit("close").aggregate(
        revenue=tm.sum("amount"), orders=tm.count(), unpaid=tm.sum(lambda order: not order["paid"])
    ).named("revenue").to("revenue", key=None)
    visits = orders.group_by(lambda order: order["customer"], key=tm.utf8)
    visits.window(tm.session(gap="20m", grace="1m")).emit("close").count().named("visits").to("visits", key=None)
    orders.with_key(lambda order: order["customer"], key=tm.utf8).process(Hours).named("hours").to(
        "hours", value=tm.json
    )
    return app


def events(seed: int, partitions: int, scale: int) -> tuple[list[Any], list[Any], list[Any], list[int]]:
    """Orders and payments with their partitions: one is ten times as long as the others, one is empty."""
    draw = random.Random(seed)
    share = [10, *([1] * (partitions - 2)), 0]
    customers = [(f"c{number}", COUNTRIES[number % len(COUNTRIES)]) for number in range(25)]
    orders, payments = [], []
    for number, times in enumerate(share):
        for index in range(times * scale):
            time = START + draw.randrange(8 * HOUR)
            key = f"o{number}-{index}"
            customer = draw.choice(customers)[0]
            orders.append((number, tm.Record(key, {"customer": customer, "amount": draw.randrange(100)}, time)))
            if draw.random() < 0.8:
                payments.append((number, tm.Record(key, {}, time + draw.randrange(10 * MINUTE))))
    for side in (orders, payments):  # out of order by less than the bound
        side.sort(key=lambda pair: pair[1].timestamp + draw.randrange(30_000))
    return orders, payments, customers, share


def expected(orders: list[Any], payments: list[Any], customers: list[Any]) -> tuple[Any, Any, Any]:
    paid = {record.key: record.timestamp for _, record in payments}
    country = dict(customers)
    revenue: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    times = defaultdict(list)
    for _, record in orders:
        place = country[record.value["customer"]], paid.get(record.key, record.timestamp) // HOUR * HOUR
        for index, amount in enumerate((record.value["amount"], 1, record.key not in paid)):
            revenue[place][index] += amount
        times[record.value["customer"]].append(record.timestamp)
    visits, hours = set(), set()
    for customer, mine in times.items():
        mine.sort()
        first = last = mine[0]
        count = 0
        for time in [*mine, 1 << 60]:
            if time - last > 20 * MINUTE:
                visits.add((customer, first, last, count))
                first, count = time, 0
            last, count = time, count + 1
        for hour, count in Counter(time // HOUR * HOUR for time in mine).items():
            hours.add((customer, count, hour + HOUR))
    return {place: tuple(found) for place, found in revenue.items()}, visits, hours


@pytest.mark.parametrize("seed", range(8))
def test_any_processes_and_any_interleaving_give_what_a_batch_gives(seed: int) -> None:
    draw = random.Random(seed)
    orders, payments, customers, _ = events(seed, 4, 25)
    crew = Crew(program(tm.bounded("30s", idle="5s")), 4, draw.choice((1, 2, 4)), seed)
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
        for k, v, _ in crew.read("revenue", windowed.key, windowed.value)
    }
    crew.finish()
    assert crew.dropped == {}
    assert found == revenue
    windowed = next(sink for sink in crew.plan.topology.sinks if sink.topic == "visits")
    assert {(k.key, k.start, k.end, v) for k, v, _ in crew.read("visits", windowed.key, windowed.value)} == visits
    assert set(crew.read("hours", tm.utf8, tm.json)) == hours


def look_ups(as_of: bool) -> tm.App:
    """Orders find the price of their item; prices come under another key, through a repartition."""
    app = tm.App("look-ups")
    prices = app.stream("prices", key=tm.utf8, value=tm.json).with_key(lambda price: price["item"], key=tm.utf8)
    table = prices.to_table(history="10h" if as_of else None).named("prices-by-item")
    orders = app.stream("orders", key=tm.utf8, value=tm.json)
    joined = orders.join(table, lambda order, price: price and price["at"], how="left", as_of=as_of)
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
    for number, item in enumerate(items):  # some producers have far more to read than others
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
