"""A Faust application whose agent stops in the middle of an event until a file is there, and says when it does."""

import asyncio
import os
from pathlib import Path

import faust

topics = os.environ["TOPICS"]
directory = Path(os.environ["DIRECTORY"])

app = faust.App(
    topics, broker=f"kafka://{os.environ['TIDEMILL_BROKER']}", topic_partitions=2, web_enabled=False, store="memory://"
)
items = app.topic(f"{topics}-items", key_type=str, value_type=int)
done = app.topic(f"{topics}-done", key_type=str, value_type=int)
counts = app.Table("counts", default=int)


@app.agent(items, concurrency=2)
async def halve(stream):
    async for event in stream.events():
        key = event.key
        counts[key] += 1
        await done.send(key=f"{key} first", value=counts[key])
        if key == "slow":
            while not (directory / "go on").exists():
                # Commits ask for this all the time, since the other agent has sent something.
                if app.tidemill.gate.shut:  # pyright: ignore[reportAttributeAccessIssue]
                    (directory / "commit waits").touch()
                await asyncio.sleep(0.005)
        counts[key] += 1
        await done.send(key=f"{key} second", value=counts[key])
