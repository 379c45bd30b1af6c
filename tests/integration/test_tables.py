"""A foreign-key join and an aggregate of its rows on a real broker, with kills: results are those of a batch."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from tests.brokers import client

from .stage import Stage

pytestmark = [pytest.mark.without_changelogs, pytest.mark.timeout(180)]

CUSTOMERS = [f"c{number}" for number in range(20)]
CITIES = ["Bath", "Cork", "Deal"]


def last(stage: Stage, topic: str) -> dict[str, Any]:
    """Return the last value per key of a topic."""
    found = {row.key: row.value for row in stage.read(topic)}
    return {(key or b"").decode(): json.loads(value) for key, value in found.items() if value is not None}


def test_final_results_of_rows_that_change_on_both_sides(stage: Stage) -> None:
    stage.topics("orders", "addressed", "cities", partitions=3)
    stage.topics("customers", partitions=2)
    program = stage.program("addresses.py", commit_interval="200ms")
    random = Random(stage.app_id)
    rows: dict[str, dict[str, Any]] = {"orders": {}, "customers": {}}
    life = program.start()
    for killed in (True, True, True, True, False):
        before = len(stage.read("addressed"))
        for _ in range(5):
            sent: dict[str, list[tuple[bytes, bytes | None]]] = {"orders": [], "customers": []}
            for number in range(100):
                customer = random.choice(CUSTOMERS)
                if random.random() < 0.3:
                    topic, key, row = "customers", customer, {"city": random.choice(CITIES)}
                else:
                    topic, key, row = "orders", f"o{random.randrange(60)}", {"number": number, "customer": customer}
                gone = random.random() < 0.15
                sent[topic].append((key.encode(), None if gone else json.dumps(row).encode()))
                rows[topic][key] = None if gone else row
            for topic, changes in sent.items():
                stage.send(topic, changes)
        stage.wait_for_rows("addressed", before + 20, 60)
        if killed:
            life.kill()
            life = program.start()
    orders, customers = (
        {key: row for key, row in rows[topic].items() if row is not None} for topic in ("orders", "customers")
    )
    expected = {
        key: [order["number"], customers[order["customer"]]["city"]]
        for key, order in orders.items()
        if order["customer"] in customers
    }
    client.wait_for(lambda: last(stage, "addressed") == expected, 90, "every order to have its customer's city")
    cities = Counter(row[1] for row in expected.values())
    client.wait_for(
        lambda: {city: count for city, count in last(stage, "cities").items() if count} == cities,
        60,
        "every city to have its count",
    )
    assert life.stop() == 0
