"""A Faust application for several workers: a global table, a pattern, single partitions, a partitioner, pages."""

import os

import faust
from faust.web import Request, Response, View

topics = os.environ["TOPICS"]


def to_second(key, partitions, available):
    """Put keys that begin with `x` into the last partition, all others into the first."""
    return partitions[-1 if key and key.startswith(b"x") else 0]


app = faust.App(
    topics,
    broker=f"kafka://{os.environ['TIDEMILL_BROKER']}",
    topic_partitions=2,
    store="memory://",
    producer_partitioner=to_second,
)
limits_topic = app.topic(f"{topics}-limits", key_type=str, value_type=int)
orders = app.topic(pattern=f"{topics}-orders-.*", key_type=str, value_type=int)
cells = app.topic(f"{topics}-cells", key_type=str, value_type=int)
found = app.topic(f"{topics}-found", key_type=str, value_type=str)

limits = app.GlobalTable("limits")
counts = app.Table("counts", default=int)


@app.agent(limits_topic)
async def set_limits(stream):
    async for key, limit in stream.items():
        if limit < 0:
            del limits[key]
        else:
            limits[key] = limit


@app.agent(orders)
async def check(stream):
    async for event in stream.events():
        counts[event.key] += 1
        seen = f"{event.value} {limits.get('limit')} {len(limits)} {sorted(limits.keys())}"
        await found.send(key=event.message.topic.removeprefix(f"{topics}-"), value=seen)


@app.agent(cells, isolated_partitions=True)
async def alone(stream):
    partitions = set()
    async for event in stream.events():
        partitions.add(event.message.partition)
        await found.send(key="alone", value=f"{event.value} {sorted(partitions)}")


@app.page("/count/{key}/")
class Count(View):
    @app.table_route(table=counts, match_info="key")  # pyright: ignore[reportArgumentType]
    async def get(self, request: Request, key: str) -> Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.json({"key": key, "count": counts.get(key, 0), "pid": os.getpid()})


@app.command()
async def send_limit():
    """Send a limit, as a command of the application."""
    await limits_topic.send(key="limit", value=77)
    print("sent a limit")
