"""A Faust application with what is seldom used of agents, streams and tables. What it finds out goes to one topic."""

import os
from datetime import timedelta

import faust

topics = os.environ["TOPICS"]


class App(faust.App):
    async def on_first_start(self):
        started.append("first")

    async def on_started(self):
        await super().on_started()
        started.append("started")


started = []
app = App(
    topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=1, web_enabled=False, store="memory://"
)
items = app.topic(f"{topics}-items", key_type=str, value_type=int)
echoed = app.topic(f"{topics}-echoed", key_type=str, value_type=int)
forwarded = app.topic(f"{topics}-forwarded", key_type=str, value_type=int)
through = app.topic(f"{topics}-through", key_type=str, value_type=int)
found = app.topic(f"{topics}-found", key_type=str, value_type=str)
expires = timedelta(days=36500)
by_now = app.Table("by_now", default=int).tumbling(3600.0, expires=expires).relative_to_now()
by_stream = app.Table("by_stream", default=int).tumbling(3600.0, expires=expires).relative_to_stream()


async def told(name, value):
    await found.send(key=name, value=str(value))


@app.agent(items)
async def numbered(stream):
    async for number, value in stream.enumerate():
        event = faust.current_event()
        await told("enumerate", f"{number} {value} {event and event.message.offset}")


@app.agent(items)
async def sent_on(stream):
    async for value in stream.echo(echoed).through(through):
        await told("through", value)


@app.agent(echoed)
async def echo(stream):
    async for value in stream:
        await told("echo", value)


@app.agent(items)
async def forwards(stream):
    async for event in stream.events():
        await event.forward(forwarded)


@app.agent(forwarded)
async def was_forwarded(stream):
    async for key, value in stream.items():
        await told("forward", f"{key} {value}")


@app.agent(items)
async def acknowledges(stream):
    async for event in stream.noack().events():
        await told("noack", event.value)
        event.ack()


@app.agent(items)
async def many(stream):
    async for events in stream.take_events(2, within=0.5):
        await told("take_events", ",".join(str(event.value) for event in events))


@app.agent(items)
async def fails(stream):
    async for value in stream:
        if value == 2:
            raise ValueError("two")
        await told("after a failure", value)


@app.agent(items)
async def in_windows(stream):
    async for value in stream:
        by_now["n"] += value
        by_stream["n"] += value
        await told("windows", f"{by_now['n'].now()} {by_stream['n'].current()}")


@app.agent()
async def squares(stream):
    async for value in stream:
        await told("agent", value)
        yield value * value


@app.task
async def asks():
    await squares.cast(5)
    answers = [reply async for reply in squares.map([1, 2, 3])]  # pyright: ignore[reportGeneralTypeIssues]
    pairs = [reply async for reply in squares.kvmap([("a", 4), ("b", 5)])]  # pyright: ignore[reportGeneralTypeIssues]
    await told("map", sorted(answers))
    await told("kvmap", sorted(pairs))
    await told("started", started[0])
