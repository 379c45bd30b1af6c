"""A join that stored the rows of its table reads them in the table's store after an upgrade, with kills."""

from __future__ import annotations

import json
import shutil

import pytest

from .program import Life
from .stage import Stage

pytestmark = [pytest.mark.without_changelogs, pytest.mark.timeout(120)]

ITEMS = [f"item-{number}" for number in range(12)]


def test_an_upgraded_join_finds_the_rows_that_the_table_has(stage: Stage) -> None:
    stage.topics("prices", "orders", "worth", "seen", partitions=2)
    program = stage.program("rows_once.py", commit_interval="100ms", state_dir=stage.directory / "state")
    prices: dict[str, int | None] = dict.fromkeys(ITEMS)
    expected: list[list[int | None]] = []
    seen = 0

    def start(version: int) -> Life:
        program.variables["VERSION"] = str(version)
        return program.start()

    def change(items: list[str], cents: int | None) -> None:
        nonlocal seen
        seen += len(items)
        prices.update(dict.fromkeys(items, cents))
        stage.send("prices", [(item.encode(), None if cents is None else str(cents).encode()) for item in items])
        stage.wait_for_rows("seen", seen, 60)

    def order() -> None:
        numbers = range(len(expected), len(expected) + len(ITEMS))
        expected.extend([number, prices[item]] for number, item in zip(numbers, ITEMS, strict=True))
        stage.send("orders", [(item.encode(), str(n).encode()) for item, n in zip(ITEMS, numbers, strict=True)])

    def all_found() -> None:
        rows = stage.wait_for_rows("worth", len(expected), 60)
        assert sorted(json.loads(row.value or b"") for row in rows) == expected

    life = start(1)
    change(ITEMS[:9], 100)
    order()
    all_found()
    life.kill()

    life = start(2)
    change(ITEMS[:3], None)
    change(ITEMS[3:5], 250)
    order()
    all_found()
    life.kill()

    shutil.rmtree(stage.directory / "state")
    life = start(2)
    order()
    all_found()
    assert life.stop() == 0
    changelogs = ["prices-changelog", "worth-changelog"] if stage.durability == "changelog" else []
    assert stage.internal() == [stage.name(topic) for topic in changelogs], "no topic is deleted"
    assert "Traceback" not in life.log
