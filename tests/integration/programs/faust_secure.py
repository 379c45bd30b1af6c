"""A Faust application that logs in, over TLS if CA names the certificates to trust."""

import os
import ssl

import faust

topics = os.environ["TOPICS"]
context = ssl.create_default_context(cafile=os.environ["CA"]) if os.environ.get("CA") else None
app = faust.App(
    topics,
    broker=f"kafka://{os.environ['TIDEMILL_BROKER']}",
    broker_credentials=faust.SASLCredentials(
        username="ann",
        password=os.environ.get("PASSWORD", "secret"),
        mechanism=os.environ["MECHANISM"],
        ssl_context=context,
    ),
    topic_partitions=1,
    web_enabled=False,
)
items = app.topic(f"{topics}-items", key_type=str, value_type=int)
found = app.topic(f"{topics}-found", key_type=str, value_type=int)
counts = app.Table("counts", default=int)


@app.agent(items)
async def count(stream):
    async for key, value in stream.items():
        counts[key] += value
        await found.send(key=key, value=counts[key])
