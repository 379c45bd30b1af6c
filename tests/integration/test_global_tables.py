"""Global tables: completely loaded before processing, kept across restarts, updated while the program runs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path

import orjson
import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .program import Life, Program
from .stage import Stage

pytestmark = pytest.mark.timeout(120)

ITEMS = [f"item {number}" for number in range(300)]


def order(number: int, item: str, partition: int = -1) -> Row:
    return Row(f"key {number}".encode(), orjson.dumps({"item": item, "number": number}), partition)


def price(item: str, amount: int | None, partition: int = -1) -> Row:
    return Row(item.encode(), None if amount is None else str(amount).encode(), partition)


def prices(stage: Stage, topic_rows: Iterable[Row] | None = None) -> None:
    stage.send("prices", topic_rows or [price(item, number) for number, item in enumerate(ITEMS)])


def priced(stage: Stage, wanted: int) -> dict[int, int | None]:
    """Wait for this number of orders, and return the price of each."""
    return dict(orjson.loads(row.value or b"null") for row in stage.wait_for_rows("priced", wanted))


def to_read(life: Life) -> int:
    """Return how many records of the table this life read at its start."""
    life.wait_for("'prices' is read")
    return next(event["to_read"] for event in life.events() if "to_read" in event)


class Asking:
    """Sends one order after the other, to observe the rows of the table."""

    def __init__(self, stage: Stage, first: int = 1_000) -> None:
        self._stage = stage
        self._numbers = count(first)
        self._sent = len(stage.read("priced"))

    def price(self, item: str) -> int | None:
        number = next(self._numbers)
        self._stage.send("orders", [order(number, item)])
        self._sent += 1
        return priced(self._stage, self._sent)[number]

    def until(self, item: str, amount: int | None) -> None:
        client.wait_for(lambda: self.price(item) == amount, 30, f"{item} to cost {amount}")


@pytest.fixture
def program(stage: Stage) -> Program:
    stage.topics("prices", partitions=3)
    stage.topics("orders", "priced", partitions=2)
    return stage.program("priced.py", commit_interval="100ms", metadata_interval="200ms")


def test_every_row_is_there_before_the_first_record(stage: Stage, program: Program) -> None:
    """On two instances, each with all three partitions of the table."""
    prices(stage)
    ends = client.end_offsets(stage.broker, stage.name("prices"))
    assert all(ends.values()), "the rows are in all partitions"
    stage.send("orders", [order(number, item, number % 2) for number, item in enumerate(ITEMS)])
    lives = [program.start(worker=number) for number in (0, 1)]
    assert priced(stage, len(ITEMS)) == {number: number for number in range(len(ITEMS))}
    assert [to_read(life) for life in lives] == [len(ITEMS), len(ITEMS)]
    for life in lives:
        life.wait_for("is ready: ")
    more = range(1_000, 1_000 + len(ITEMS))
    stage.send("orders", [order(number, item, number % 2) for number, item in zip(more, ITEMS, strict=True)])
    found = priced(stage, 2 * len(ITEMS))
    assert [found[number] for number in more] == list(range(len(ITEMS)))
    assert [life.stop() for life in lives] == [0, 0]


def test_a_restart_after_a_kill_reads_the_tail(stage: Stage, program: Program) -> None:
    prices(stage)
    first = program.start()
    assert to_read(first) == len(ITEMS)
    directory = stage.directory / "state"
    client.wait_for(lambda: flushed(directory), 30, "the table to be on disk")
    first.kill()
    prices(stage, [price("item 7", 70), price("item 8", None)])
    second = program.start()
    assert to_read(second) == 2
    asking = Asking(stage)
    assert [asking.price(item) for item in ("item 6", "item 7", "item 8")] == [6, 70, None]
    assert second.stop() == 0


def flushed(directory: Path) -> bool:
    """Return whether RocksDB has a file of the table that will be there after a kill: it is in the manifest."""
    return any("flush_finished" in path.read_text() for path in directory.glob("*/*/tables/prices/LOG"))


def test_changes_while_the_program_runs_are_applied(stage: Stage, program: Program) -> None:
    """New, changed and deleted rows, and rows in new partitions."""
    prices(stage)
    life = program.start()
    asking = Asking(stage)
    asking.until("item 3", 3)
    prices(stage, [price("item 3", 33), price("item 4", None), price("new", 5)])
    asking.until("item 3", 33)
    asking.until("item 4", None)
    asking.until("new", 5)
    client.add_partitions(stage.broker, stage.name("prices"), 4)
    client.wait_for(lambda: client.topics(stage.broker)[stage.name("prices")] == 4, 15, "the partition to be there")
    prices(stage, [price("newer", 6, partition=3)])
    asking.until("newer", 6)
    assert asking.price("item 5") == 5
    assert life.stop() == 0


def made_again(stage: Stage, rows: list[Row]) -> None:
    """Recreate the topic of prices, with other rows."""
    name = stage.name("prices")
    client.delete_topic(stage.broker, name)
    client.wait_for(lambda: name not in client.topics(stage.broker), 15, "the topic to be gone")
    stage.topics("prices", partitions=3)
    prices(stage, rows)


def test_a_recreated_topic_is_loaded_again(stage: Stage, program: Program) -> None:
    """Once while the program is down and once while it runs; the new topic has more records than the old one."""
    prices(stage)
    first = program.start()
    asking = Asking(stage)
    asking.until("item 3", 3)
    assert first.stop() == 0
    made_again(stage, [price("other", 1)] + [price(f"more {number}", number) for number in range(1_000)])
    second = program.start()
    second.wait_for("'prices' is emptied and read from the beginning: its topic was deleted and created again")
    assert to_read(second) == 1_001
    assert [asking.price(item) for item in ("item 3", "other")] == [None, 1]
    made_again(stage, [price("third", 3)])
    second.wait_for("(?s)created again.*created again")
    asking.until("third", 3)
    assert asking.price("other") is None
    assert second.stop() == 0


def test_a_row_that_cannot_be_read(stage: Stage, program: Program) -> None:
    prices(stage, [price("good", 1), Row(b"bad", b"{", 0), Row(None, b"1"), price("better", 2)])
    failed = program.start()
    assert failed.exit() == 1
    assert "'prices' could not decode a record" in failed.log
    assert f"topic '{stage.name('prices')}', partition 0" in failed.log
    program.variables["ON_ERROR"] = "skip"
    life = program.start()
    asking = Asking(stage)
    assert [asking.price(item) for item in ("good", "bad", "better")] == [1, None, 2]
    assert life.stop() == 0
