"""Write to OpenSearch: the last sale of each buyer, sums by item, and windows."""

import os

import msgspec

import tidemill as tm


class Sale(msgspec.Struct):
    number: int
    item: str
    pieces: int


SERVER = os.environ["OPENSEARCH"]
PREFIX = os.environ["TOPICS"]


def index(name: str) -> tm.Target:
    return tm.opensearch(SERVER, f"{PREFIX.lower()}-{name}")


app = tm.App("to-opensearch")
sales = app.stream(f"{PREFIX}-sales", key=tm.utf8, value=tm.json(Sale))
sales.to_table().named("latest").sink(index("latest"))

by_item = sales.group_by(lambda sale: sale.item, key=tm.utf8)
totals = by_item.aggregate(sales=tm.count(), pieces=tm.sum("pieces"), numbers=tm.sum("number")).named("totals")
totals.sink(index("totals"))
minutes = by_item.window(tm.tumbling("1m")).aggregate(sales=tm.count(), pieces=tm.sum("pieces")).named("minutes")
minutes.filter(lambda row: row["pieces"] % 2 == 0).sink(index("minutes")).named("even")

if __name__ == "__main__":
    app.main()
