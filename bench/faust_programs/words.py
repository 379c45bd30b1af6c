"""Counts words by key."""

import os

import faust

name = os.environ["BENCH_ID"]
app = faust.App(
    name,
    broker=f"kafka://{os.environ['BENCH_BROKER']}",
    store="memory://",
    topic_partitions=4,
    datadir=os.environ["BENCH_DIR"],
    web_enabled=False,
)
words = app.topic(f"{os.environ['BENCH_TOPIC']}", key_type=str, value_type=str)
counted = app.topic(f"{name}-counted", key_type=str, value_type=int)
counts = app.Table("counts", default=int)
told = os.environ.get("BENCH_TELL") == "1"


@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1
        if told:
            await counted.send(key=word, value=counts[word])
