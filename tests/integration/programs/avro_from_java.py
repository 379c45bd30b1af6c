"""Orders that a Java program has written as Avro, as JSON."""

import os
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

import tidemill as tm

topics = os.environ["TOPICS"]


class Order(msgspec.Struct):
    item: str
    amount: int
    price: Annotated[Decimal, msgspec.Meta(extra={"precision": 10, "scale": 2})]
    at: datetime
    tags: list[str]
    note: str | None = None


def told(order: Order) -> dict[str, object]:
    return {
        "total": str(order.price * order.amount),
        "at": order.at.isoformat(),
        "tags": order.tags,
        "note": order.note,
    }


app = tm.App("java")
framing: Any = os.environ["FRAMING"]
registry = tm.SchemaRegistry(os.environ["REGISTRY"], framing=framing)
orders = app.stream(f"{topics}-orders", key=tm.utf8, value=registry.avro(Order))
orders.filter(lambda order: order is not None).map(told).to(f"{topics}-told", value=tm.json)
if os.environ.get("COPIES"):
    paid = orders.filter(lambda order: order is not None)
    paid.to(f"{topics}-copies", value=registry.avro(Order))
    paid.to(f"{topics}-headers", value=registry.avro(Order, headers=True))

if __name__ == "__main__":
    app.main()
