"""Records that are combined before a repartition topic are counted once, through kills and upgrades."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .program import Life, Program
from .stage import Stage

pytestmark = pytest.mark.timeout(240)

PARTITIONS, ITEMS = 4, 5


class Sales:
    """Sends sales, and knows the numbers of those of each item by partition."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sent = 0

    def send(self, count: int) -> None:
        """Send as many sales; prices are multiples of a quarter, so that sums are exact in any order."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        self.stage.send("sales", [Row(b"k", orjson.dumps(self.sale(n)), n % PARTITIONS) for n in numbers])

    @staticmethod
    def sale(number: int) -> dict[str, Any]:
        price = number / 4 if number % 3 else number
        return {"item": f"i{number % ITEMS}", "price": price, "number": number}

    def counted(self) -> None:
        """Wait until each is counted; then it is counted once, and in the order of its partition."""

        def rows() -> dict[str, Any]:
            found = {(row.key or b"").decode(): orjson.loads(row.value or b"") for row in self.stage.read("rows")}
            return found if sum(row["n"] for row in found.values()) >= self.sent else {}

        found = client.wait_for(rows, 90, f"{self.sent} sales to be counted")
        mine: dict[str, list[int]] = {}
        for number in range(self.sent):
            mine.setdefault(self.sale(number)["item"], []).append(number)
        assert found.keys() == mine.keys()
        for item, row in found.items():
            assert (row["n"], row["total"]) == (len(mine[item]), sum(self.sale(n)["price"] for n in mine[item]))
            assert sorted(row["numbers"]) == mine[item]
            for at in range(PARTITIONS):
                of_one = [number for number in row["numbers"] if number % PARTITIONS == at]
                assert of_one == sorted(of_one)


def test_combined_records_through_kills_and_versions(stage: Stage) -> None:
    stage.topics("sales", "rows", partitions=PARTITIONS)
    sales = Sales(stage)

    def program(name: str) -> Program:
        return stage.program("combined.py", name=name, state_dir=stage.directory / name, commit_interval="300ms")

    one, other = program("one"), program("other")

    def start(which: Program, version: int) -> Life:
        which.variables["VERSION"] = str(version)
        life = which.start()
        life.wait_for(r"generation \d+: \d+ tasks")
        return life

    # The records of the first version are still in the topic, and one process of it lives on.
    first, second = start(one, 1), start(other, 1)
    sales.send(400)
    assert first.stop() == 0
    first = start(one, 2)
    sales.send(400)
    sales.counted()
    second.kill()
    second = start(other, 2)
    sales.send(400)
    sales.counted()

    # Killed again and again, with records held in memory.
    [topic] = [name for name in stage.internal() if name.endswith("repartition")]
    before = sum(client.end_offsets(stage.broker, topic).values())
    for _ in range(3):
        for which, life in ((one, first), (other, second)):
            sales.send(2_000)
            life.kill()
            sales.send(1_000)
            if which is one:
                first = start(one, 2)
            else:
                second = start(other, 2)
    sales.counted()
    written = sum(client.end_offsets(stage.broker, topic).values()) - before
    assert written < 18_000 / 3, "18,000 sales were not written one by one"

    # Back to the first version, which reads what is left; a clean stop sends what is held.
    sales.send(1_000)
    assert [first.stop(), second.stop()] == [0, 0]
    start(one, 1)
    sales.send(400)
    sales.counted()
