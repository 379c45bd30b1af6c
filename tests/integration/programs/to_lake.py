"""Append sales to a data lake; in tables, keep their totals by item too."""

import json
import os

import msgspec

import tidemill as tm


class Sale(msgspec.Struct):
    number: int
    item: str
    pieces: int


URL = os.environ["LAKE"]
ROLL = os.environ.get("ROLL", "300ms")

app = tm.App("to-lake")
sales = app.stream(f"{os.environ['TOPICS']}-sales", key=tm.utf8, value=tm.json(Sale))
totals = sales.group_by(lambda sale: sale.item, key=tm.utf8).aggregate(sales=tm.count(), pieces=tm.sum("pieces"))
row = {"columns": {"sales": "int64", "pieces": "int64"}, "key": {"item": "string"}, "roll": ROLL}
match os.environ["KIND"]:
    case "parquet":
        sales.sink(tm.parquet(URL, partition_by=["item"], roll=ROLL)).named("sales-out")
    case "iceberg":
        catalogs = json.loads(os.environ["CATALOGS"])
        target = tm.iceberg("lake.sales", catalog=catalogs["sales"], partition_by=["item"], roll=ROLL)
        sales.sink(target).named("sales-out")
        totals.named("totals").sink(tm.iceberg("lake.totals", catalog=catalogs["totals"], **row)).named("totals-out")
    case "delta":
        sales.sink(tm.delta(f"{URL}/sales", partition_by=["item"], roll=ROLL)).named("sales-out")
        totals.named("totals").sink(tm.delta(f"{URL}/totals", **row)).named("totals-out")
    case kind:
        raise ValueError(kind)

if __name__ == "__main__":
    app.main()
