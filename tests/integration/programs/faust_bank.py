"""A Faust application with most of what agents and tables can do. What it finds out goes to one topic, by name."""

import os
from datetime import timedelta

import faust

topics = os.environ["TOPICS"]

app = faust.App(
    topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=2, web_enabled=False, store="memory://"
)


class Transfer(faust.Record, serializer="json"):
    account: str
    country: str
    amount: int
    at: float


transfers = app.topic(f"{topics}-transfers", key_type=str, value_type=Transfer)
found = app.topic(f"{topics}-found", key_type=str, value_type=str)

by_country = app.Table("by_country", default=int)
per_minute = (
    app.Table("per_minute", default=int).tumbling(60.0, expires=timedelta(days=36500)).relative_to_field(Transfer.at)  # pyright: ignore[reportArgumentType]
)
accounts = app.SetTable("accounts")
local = app.channel()


async def told(name, value):
    await found.send(key=name, value=str(value))


@app.agent(transfers)
async def in_countries(stream):
    async for transfer in stream.filter(lambda one: one.amount > 0).group_by(Transfer.country):
        by_country[transfer.country] += transfer.amount
        accounts[transfer.country].add(transfer.account)
        await told(f"country {transfer.country}", by_country[transfer.country])
        await told(f"accounts {transfer.country}", ",".join(sorted(accounts[transfer.country])))


@app.agent(transfers)
async def in_minutes(stream):
    async for event in stream.events():
        per_minute[event.value.account] += event.value.amount
        await told(f"minute {event.value.account} {int(event.value.at // 60)}", per_minute[event.value.account].value())


async def heard(value):
    await told("sink", value)


@app.agent(transfers, concurrency=3, sink=[heard])
async def large(stream):
    async for key, transfer in stream.items():
        if transfer.amount >= 100:
            yield f"{key} {transfer.amount}"


@app.agent(transfers)
async def together(stream):
    async for batch in stream.take(5, within=0.5):
        await told("batch", len(batch))


@app.agent()
async def double(stream):
    async for number in stream:
        yield number * 2


@app.agent(local)
async def in_memory(stream):
    async for value in stream:
        await told("memory", value)


@app.agent(transfers)
async def to_memory(stream):
    async for transfer in stream:
        await local.send(value=transfer.amount)


asked = []


@app.task
async def ask():
    asked.append(await double.ask(21))
    asked.extend(sorted(await double.join([1, 2, 3])))


@app.timer(0.2)
async def tell():
    while asked:
        await told("asked", asked.pop(0))
