"""Write to PostgreSQL: events (appended), sums (by key) and windows (by key and window)."""

import os

import msgspec

import tidemill as tm


class Sale(msgspec.Struct):
    number: int
    item: str
    pieces: int


SERVER = os.environ["POSTGRES"]

app = tm.App("to-postgres", on_error=tm.skip if os.environ.get("SKIP") else tm.fail)
sales = app.stream(f"{os.environ['TOPICS']}-sales", key=tm.utf8, value=tm.json(Sale))
sales.sink(tm.postgres(SERVER, table="sales")).named("sales-out")

by_item = sales.group_by(lambda sale: sale.item, key=tm.utf8)
columns = {"sales": "bigint", "pieces": "bigint"}
totals = by_item.aggregate(sales=tm.count(), pieces=tm.sum("pieces")).named("totals")
totals.sink(tm.postgres(SERVER, table="totals", columns=columns, key={"item": "text"}))
minutes = by_item.window(tm.tumbling("1m")).aggregate(sales=tm.count(), pieces=tm.sum("pieces")).named("minutes")
minutes.filter(lambda row: row["pieces"] % 2 == 0).sink(tm.postgres(SERVER, table="minutes", columns=columns)).named(
    "even"
)

if __name__ == "__main__":
    app.main()
