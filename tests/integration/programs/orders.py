"""Enrich orders and count them per key: a small program whose function can raise, hang, or be slow."""

import os
import time
from pathlib import Path

import msgspec

import tidemill as tm

topics = os.environ["TOPICS"]


class Order(msgspec.Struct):
    item: str
    amount: int = 1
    complaint: str = ""
    sleeps: float = 0.0
    grows: int = 0


def enrich(order: Order) -> Order:
    if order.complaint:
        raise LookupError(f"no such item: {order.complaint}")
    if order.sleeps and not Path("slept").exists():
        Path("slept").touch()
        time.sleep(order.sleeps)
    if order.grows:
        return msgspec.structs.replace(order, item=order.item + os.urandom(order.grows // 2).hex())
    return order


app = tm.App("orders", on_error=tm.skip if os.environ.get("ON_ERROR") == "skip" else tm.fail)

orders = app.stream(f"{topics}-orders", key=tm.utf8, value=tm.json(Order))
enriched = orders.map(enrich).named("enrich")
enriched.to(f"{topics}-enriched", key=tm.utf8, value=tm.json)

totals = enriched.group_by_key().aggregate(count=tm.count(), amount=tm.sum("amount")).named("totals")
totals.to(f"{topics}-totals", key=tm.utf8, value=tm.json)

if __name__ == "__main__":
    app.main()
