"""A Faust application whose crontab sends, and changes nothing else."""

import os
import time

import faust

topics = os.environ["TOPICS"]
app = faust.App(topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=1, web_enabled=False)
ticks = app.topic(f"{topics}-ticks", key_type=str, value_type=str)
items = app.topic(f"{topics}-items", key_type=str, value_type=int)
counts = app.Table("counts", default=int)


@app.agent(items)
async def count(stream):
    async for value in stream:
        counts["all"] += value


@app.crontab("* * * * *")
async def every_minute():
    await ticks.send(key="minute", value=f"{time.localtime().tm_sec} {counts['all']}")


@app.crontab("0 0 29 2 *", on_leader=True)
async def on_leap_days():
    await ticks.send(key="leap", value="")
