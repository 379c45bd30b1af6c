"""A Faust application: words of lines, and how often each was seen."""

import asyncio
import os

import faust

topics = os.environ["TOPICS"]

app = faust.App(
    topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=2, web_enabled=False, store="memory://"
)


class Line(faust.Record, serializer="json"):
    text: str


lines = app.topic(f"{topics}-lines", value_type=Line)
words = app.topic(f"{topics}-words", key_type=str, value_type=str)
counted = app.topic(f"{topics}-counted", key_type=str, value_type=int)
counts = app.Table("counts", default=int)


@app.agent(lines)
async def split(stream):
    async for line in stream:
        for word in line.text.split():
            await words.send(key=word, value=word)
            await asyncio.sleep(0.0005)  # so that a commit is often asked for in the middle of an event


@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1
        await counted.send(key=word, value=counts[word])
