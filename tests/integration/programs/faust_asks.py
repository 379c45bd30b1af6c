"""A Faust application with an agent that asks another one within an event, with METHOD."""

import os

import faust

topics = os.environ["TOPICS"]

app = faust.App(
    topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=1, web_enabled=False, store="memory://"
)
items = app.topic(f"{topics}-items", value_type=int)
found = app.topic(f"{topics}-found", key_type=str, value_type=int)
memory = app.channel()


@app.agent()
async def double(stream):
    async for number in stream:
        yield number * 2


@app.agent(memory)
async def triple(stream):
    async for number in stream:
        yield number * 3


@app.agent(items)
async def asks(stream):
    async for number in stream:
        if os.environ["METHOD"] == "memory":
            await found.send(key="answer", value=await triple.ask(number))
        elif os.environ["METHOD"] == "ask":
            await found.send(key="answer", value=await double.ask(number))
        else:
            await found.send(key="answer", value=sum(await double.join([number])))
