# pyright: reportMissingImports=false
"""J1 and J2 in Bytewax: snapshots at the commit interval, at-least-once output."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from arguments import Arguments, read
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

Totals = tuple[int, float]


def priced(message: KafkaSourceMessage) -> KafkaSinkMessage | None:
    event = orjson.loads(message.value)
    if event["kind"] == "cart":
        return None
    event["gross"] = event["amount"] * 1.2
    return KafkaSinkMessage(message.key, orjson.dumps(event))


def amount(message: KafkaSourceMessage) -> tuple[str, float]:
    return message.key.decode(), orjson.loads(message.value)["amount"]


def totals(state: Totals | None, value: float) -> tuple[Totals, Totals]:
    count, total = state or (0, 0.0)
    after = (count + 1, total + value)
    return after, after


def result(item: tuple[str, Totals]) -> KafkaSinkMessage:
    key, (count, total) = item
    return KafkaSinkMessage(key.encode(), orjson.dumps({"count": count, "total": total}))


def flow(args: Arguments) -> Dataflow:
    made = Dataflow(args.app)
    events: Any = kop.input("events", made, brokers=[args.broker], topics=[args.input], batch_size=1_000).oks
    if args.job == "J1":
        out = op.filter_map("price", events, priced)
    elif args.job == "J2":
        out = op.map("result", op.stateful_map("totals", op.map("amount", events, amount), totals), result)
    else:
        raise SystemExit(f"job {args.job} is not implemented for Bytewax")
    kop.output("out", out, brokers=[args.broker], topic=args.output)
    return made


if __name__ == "__main__":
    args = read()
    snapshots = Path(args.state_dir)
    snapshots.mkdir(parents=True)
    init_db_dir(snapshots, 1)
    cli_main(
        flow(args),
        epoch_interval=timedelta(milliseconds=args.commit_ms),
        recovery_config=RecoveryConfig(str(snapshots)),
    )
