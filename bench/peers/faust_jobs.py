# pyright: reportMissingImports=false, reportUnknownMemberType=false
"""J1 and J2 in Faust, configured as its documentation recommends, with the RocksDB store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import faust
from arguments import read

args = read()
app = faust.App(
    args.app,
    broker=f"kafka://{args.broker}",
    store="rocksdb://",
    datadir=Path(args.state_dir),
    topic_partitions=4,
    topic_disable_leader=True,
    broker_commit_interval=args.commit_ms / 1000,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
)
events = app.topic(args.input, key_type=bytes, key_serializer="raw", value_serializer="json")
output = app.topic(args.output, key_type=bytes, key_serializer="raw", value_serializer="json")

if args.job == "J1":

    @app.agent(events)
    async def price(stream: Any) -> None:
        async for key, event in stream.items():
            if event["kind"] == "cart":
                continue
            event["gross"] = event["amount"] * 1.2
            await output.send(key=key, value=event)

elif args.job == "J2":
    totals = app.Table("totals", partitions=4, key_type=str)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, event in stream.items():
            user = key.decode()
            before = totals.get(user) or {"count": 0, "total": 0.0}
            after = {"count": before["count"] + 1, "total": before["total"] + event["amount"]}
            totals[user] = after
            await output.send(key=key, value=after)

else:
    raise SystemExit(f"job {args.job} is not implemented for Faust")

if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()
