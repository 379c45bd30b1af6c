"""Counts and sums by item, behind a repartition topic; the second version combines the records before it."""

import os

import tidemill as tm

topics = os.environ["TOPICS"]
combines = os.environ["VERSION"] == "2"

app = tm.App("combined")

sales = app.stream(f"{topics}-sales", key=tm.utf8, value=tm.json)
by_item = sales.group_by(lambda sale: sale["item"], key=tm.utf8).emit("commit" if combines else "update")
rows = by_item.aggregate(n=tm.count(), total=tm.sum("price"), numbers=tm.collect("number")).named("rows")
rows.to(f"{topics}-rows", value=tm.json)

if __name__ == "__main__":
    app.main()
