"""Join orders with their customers by foreign key, and count them per city."""

import os
from typing import Any

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("addresses")

orders = app.table(f"{topics}-orders", key=tm.utf8, value=tm.json)
customers = app.table(f"{topics}-customers", key=tm.utf8, value=tm.json)


def addressed(order: dict[str, Any], customer: dict[str, Any]) -> list[Any]:
    return [order["number"], customer["city"]]


joined = orders.join(customers, on=lambda order: order["customer"], function=addressed).named("addressed")
joined.to(f"{topics}-addressed", value=tm.json)
joined.group_by(lambda row: row[1], key=tm.utf8).count().named("cities").to(f"{topics}-cities", value=tm.json)

if __name__ == "__main__":
    app.main()
