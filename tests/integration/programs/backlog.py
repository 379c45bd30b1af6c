"""Aggregate orders by payment, country and hour, customer and visit: joins, lookups, windows, timers."""

import os
from typing import Any

import tidemill as tm

HOUR = 3_600_000


class Hours(tm.Processor[str, Any, Any]):
    """Emit at the end of each hour how many orders a customer has placed in it."""

    orders = tm.MapState(str, int)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        hour = ctx.timestamp // HOUR * HOUR
        self.orders[str(hour)] = self.orders.get(str(hour), 0) + 1
        ctx.timer(str(hour), at=hour + HOUR)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        orders = self.orders[name]
        del self.orders[name]
        return [orders]


def program(topics: str, watermark: tm.Watermark) -> tm.App:
    app = tm.App("backlog")
    orders = app.stream(f"{topics}orders", key=tm.utf8, value=tm.json, watermark=watermark)
    payments = app.stream(f"{topics}payments", key=tm.utf8, value=tm.json, watermark=watermark)
    paid = orders.join(payments, lambda order, paid: {**order, "paid": paid is not None}, within="10m", how="left")
    paid.named("paid")
    customers = app.table(f"{topics}customers", key=tm.utf8, value=tm.json)
    known = paid.with_key(lambda order: order["customer"], key=tm.utf8).join(
        customers, lambda order, customer: {**order, "country": customer["country"]}
    )
    known.named("known")
    windows = known.group_by(lambda order: order["country"], key=tm.utf8).window(tm.tumbling("1h", grace="2m"))
    windows.emit("close").aggregate(
        revenue=tm.sum("amount"), orders=tm.count(), unpaid=tm.sum(lambda order: not order["paid"])
    ).named("revenue").to(f"{topics}revenue", key=None)
    visits = orders.group_by(lambda order: order["customer"], key=tm.utf8)
    visits.window(tm.session(gap="20m", grace="1m")).emit("close").count().named("visits").to(
        f"{topics}visits", key=None
    )
    orders.with_key(lambda order: order["customer"], key=tm.utf8).process(Hours).named("hours").to(
        f"{topics}hours", value=tm.json
    )
    return app


app = program(f"{os.environ.get('TOPICS', 'backlog')}-", tm.bounded("30s", idle="5s"))

if __name__ == "__main__":
    app.main()
