"""Eight hours of orders and payments for `integration/programs/backlog.py`, and the results a batch computes."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import tidemill as tm

__all__ = ["COUNTRIES", "HOUR", "MINUTE", "START", "events", "expected"]

HOUR, MINUTE = 3_600_000, 60_000
START = 1_700_000_000_000 // HOUR * HOUR
COUNTRIES = ("at", "de", "fr", "it")


def events(seed: int, partitions: int, scale: int) -> tuple[list[Any], list[Any], list[Any], list[int]]:
    """Return orders and payments with their partitions: one is ten times as long as the others, one is empty."""
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
