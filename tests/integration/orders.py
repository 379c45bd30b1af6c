"""Input and output of the program `programs/orders.py`, as values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tests.brokers.client import Row

from .stage import Stage

TOPICS = ("orders", "enriched", "totals")


def order(item: str, key: str | None = "k", **more: Any) -> Row:
    """An order as it lies in the input topic."""
    return Row(None if key is None else key.encode(), orjson.dumps({"item": item, **more}))


def items(stage: Stage) -> list[str]:
    """The items of the enriched orders, in order."""
    return [orjson.loads(row.value or b"null")["item"] for row in stage.read("enriched")]


def totals(stage: Stage) -> dict[str, dict[str, Any]]:
    """The newest row of each key."""
    return {(row.key or b"").decode(): orjson.loads(row.value or b"null") for row in stage.read("totals")}


def rows_of_totals(stage: Stage, key: str) -> list[dict[str, Any]]:
    """All rows of one key, in order."""
    return [orjson.loads(row.value or b"null") for row in stage.read("totals") if row.key == key.encode()]


def prepared(stage: Stage, rows: Iterable[Row], partitions: int = 1) -> Stage:
    """Makes the topics and sends the orders."""
    stage.topics(*TOPICS, partitions=partitions)
    stage.send("orders", rows)
    return stage
