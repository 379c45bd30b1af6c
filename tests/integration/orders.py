"""Input and output values of the program `programs/orders.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tests.brokers.client import Row

from .stage import Stage

TOPICS = ("orders", "enriched", "totals")


def order(item: str, key: str | None = "k", **more: Any) -> Row:
    """Return an order as a record of the input topic."""
    return Row(None if key is None else key.encode(), orjson.dumps({"item": item, **more}))


def items(stage: Stage) -> list[str]:
    """Return the items of the enriched orders, in order."""
    return [orjson.loads(row.value or b"null")["item"] for row in stage.read("enriched")]


def totals(stage: Stage) -> dict[str, dict[str, Any]]:
    """Return the newest row per key."""
    return {(row.key or b"").decode(): orjson.loads(row.value or b"null") for row in stage.read("totals")}


def rows_of_totals(stage: Stage, key: str) -> list[dict[str, Any]]:
    """Return all rows of a key, in order."""
    return [orjson.loads(row.value or b"null") for row in stage.read("totals") if row.key == key.encode()]


def prepared(stage: Stage, rows: Iterable[Row], partitions: int = 1) -> Stage:
    """Create the topics and send the orders."""
    stage.topics(*TOPICS, partitions=partitions)
    stage.send("orders", rows)
    return stage
