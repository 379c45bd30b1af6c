"""A Faust application with tables of all kinds; it tells what it reads in them before it changes them."""

import os
from datetime import timedelta

import faust

topics = os.environ["TOPICS"]

app = faust.App(
    topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=2, web_enabled=False, store="memory://"
)


class Visit(faust.Record, serializer="json"):
    page: str
    at: float


visits = app.topic(f"{topics}-visits", key_type=str, value_type=Visit)
told = app.topic(f"{topics}-told", key_type=str, value_type=str)

counts = app.Table("counts", default=int)
last = app.Table("last", key_type=str, value_type=Visit)
per_minute = (
    app.Table("per_minute", default=int).hopping(60.0, 30.0, expires=timedelta(days=36500)).relative_to_field(Visit.at)  # pyright: ignore[reportArgumentType]
)
pages = app.SetTable("pages", partitions=2)
by_pair = app.Table("by_pair", default=int)


@app.agent(visits)
async def visited(stream):
    async for who, visit in stream.items():
        before = last.get(who)
        counts[who] += 1
        last[who] = visit
        per_minute[who] += 1
        by_pair[who, visit.page] += 1
        pages[who].add(visit.page)
        if visit.page == "leave":
            del counts[who]
            pages[who].discard("home")
        found = [
            counts[who],
            before and before.page,
            per_minute[who].value(),
            by_pair[who, visit.page],
            sorted(pages[who]),
        ]
        await told.send(key=who, value=repr(found))
