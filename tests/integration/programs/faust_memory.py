"""A Faust application with channels in memory that have a limit, and agents that take many values of them at a time."""

import asyncio
import os
import time

import faust

topics = os.environ["TOPICS"]
app = faust.App(topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=1, web_enabled=False)
items = app.topic(f"{topics}-items", key_type=str, value_type=int)
found = app.topic(f"{topics}-found", key_type=str, value_type=str)
small = app.channel(maxsize=2, value_type=int)
parts = app.channel(maxsize=1, value_type=int)


async def told(name, value):
    await found.send(key=name, value=str(value))


@app.agent(small)
async def takes(stream):
    async for numbers in stream.take(3, within=0.5):
        await asyncio.sleep(0.3)
        await told("taken", numbers)


@app.task
async def fills():
    while not small.subscriber_count:
        await asyncio.sleep(0.05)
    begin = time.monotonic()
    for number in range(12):
        await small.send(value=number)
    await told("waited", time.monotonic() - begin > 0.5)


@app.agent(items)
async def divides(stream):
    async for value in stream:
        for part in range(value):
            await parts.send(value=part)


@app.agent(parts)
async def adds(stream):
    async for numbers in stream.take(4, within=0.1):
        await told("parts", len(numbers))
