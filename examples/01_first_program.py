"""A first program: the amount that each user spent per minute.

    python 01_first_program.py --broker localhost:9092

It reads the topic `views` and writes the topic `totals`. Nothing else is needed: state is kept in local RocksDB stores
and backed up to a changelog topic. Each input record counts exactly once, even if the process is killed.
"""

import msgspec

import tidemill as tm


class View(msgspec.Struct):
    user: str
    kind: str
    amount: float


app = tm.App("views")  # application id = consumer group = prefix of internal names

views = app.stream("views", key=tm.utf8, value=tm.json(View))  # Stream[str, View]
totals = (
    views.filter(lambda v: v.kind != "cart")
    .group_by(lambda v: v.user)  # re-keyed: goes through an automatic repartition topic
    .window(tm.tumbling("1m", grace="10s"))
    .aggregate(count=tm.count(), total=tm.sum("amount"))  # WindowedTable[str, row]
    .named("totals")  # the name of step and store: queries, changelog, metrics
)
totals.to("totals", value=tm.json)

if __name__ == "__main__":
    app.main()
