"""Write sales to a lake, or read them from there before the topic: pass each on, and count them by item and second."""

import os
from typing import Any

import msgspec

import tidemill as tm


class Sale(msgspec.Struct):
    number: int
    item: str
    pieces: int


TOPIC = f"{os.environ['TOPICS']}-sales"
URL = os.environ["LAKE"]
UNTIL = msgspec.json.decode(os.environ.get("UNTIL", "null"), type=dict[int, int] | None)

FORMAT = os.environ.get("FORMAT", "parquet")


def table() -> Any:
    """The table of Iceberg or Delta that the sink writes, and that is read."""
    if FORMAT == "delta":
        return tm.delta(URL, key={"key": "string"}, timestamp="at", roll="200ms")
    catalog = {"name": "lake", "type": "sql", "uri": f"sqlite:///{URL}/catalog.db", "warehouse": f"file://{URL}"}
    return tm.iceberg("lake.sales", catalog=catalog, key={"key": "string"}, timestamp="at", roll="200ms")


app = tm.App("historic")
if os.environ["ROLE"] == "write":
    files = FORMAT == "parquet"
    lake = (
        tm.parquet(URL, partition_by=["item"], key={"key": "string"}, timestamp="at", roll="5m") if files else table()
    )
    app.stream(TOPIC, key=tm.utf8, value=tm.json(Sale)).sink(lake).named("sales-out")
else:
    lake = URL if FORMAT == "parquet" else tm.history(table(), written_by=os.environ["WRITTEN_BY"])
    sales = app.stream(TOPIC, key=tm.utf8, value=tm.json(Sale), history=lake, until=UNTIL)
    sales.to(f"{os.environ['TOPICS']}-passed")
    by_key = sales.group_by_key().window(tm.tumbling("1s", grace="0s")).emit("close")
    by_key.aggregate(pieces=tm.sum("pieces")).named("seconds").to(f"{os.environ['TOPICS']}-seconds", value=tm.json)
    totals = sales.group_by(lambda sale: sale.item, key=tm.utf8).aggregate(sales=tm.count(), pieces=tm.sum("pieces"))
    totals.named("totals").to(f"{os.environ['TOPICS']}-totals", value=tm.json)

if __name__ == "__main__":
    app.main()
