"""Counts page views per page and minute."""

import os

import faust

app = faust.App(
    os.environ["BENCH_ID"],
    broker=f"kafka://{os.environ['BENCH_BROKER']}",
    store="memory://",
    topic_partitions=4,
    datadir=os.environ["BENCH_DIR"],
    web_enabled=False,
)


class View(faust.Record, serializer="json"):
    page: str
    user: str
    ms: int


views = app.topic(os.environ["BENCH_TOPIC"], key_type=str, value_type=View)
per_page = app.Table("per_page", default=int).tumbling(60.0, expires=3600.0)


@app.agent(views)
async def count(stream):
    async for view in stream:
        per_page[view.page] += 1
