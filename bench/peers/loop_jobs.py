"""J1 and J2 as a plain loop over confluent-kafka, an upper bound for one record at a time.

J2 keeps its totals in a dict, without a persistent store, and the guarantee is at-least-once.
"""

from __future__ import annotations

import signal
import time
from typing import Any

import orjson
from arguments import Arguments, read
from confluent_kafka import Consumer, Message, Producer


def write_priced(messages: list[Message], producer: Producer, output: str, totals: dict[Any, list[Any]]) -> None:
    produce, loads, dumps = producer.produce, orjson.loads, orjson.dumps
    for message in messages:
        event = loads(message.value())  # type: ignore[arg-type]
        if event["kind"] == "cart":
            continue
        event["gross"] = event["amount"] * 1.2
        produce(output, dumps(event), message.key())


def write_totals(messages: list[Message], producer: Producer, output: str, totals: dict[Any, list[Any]]) -> None:
    produce, loads, dumps = producer.produce, orjson.loads, orjson.dumps
    for message in messages:
        event = loads(message.value())  # type: ignore[arg-type]
        key = message.key()
        state = totals.get(key)
        if state is None:
            totals[key] = state = [0, 0.0]
        state[0] += 1
        state[1] += event["amount"]
        produce(output, dumps({"count": state[0], "total": state[1]}), key)


def run(args: Arguments) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": args.broker,
            "group.id": args.app,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 100_000,
            "fetch.message.max.bytes": 4 * 1024 * 1024,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": args.broker,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
        }
    )
    if args.exactly_once or args.outputs != "update" or args.job not in ("J1", "J2"):
        raise SystemExit("the plain loop supports J1 and J2, at_least_once, with one output per input")
    step = write_priced if args.job == "J1" else write_totals
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    consumer.subscribe([args.input])
    totals: dict[Any, list[Any]] = {}
    due = time.monotonic() + args.commit_ms / 1000
    dirty = False
    while not stopping:
        messages = consumer.consume(10_000, 0.05)
        # In slices, to keep the producer's queue from filling up.
        for at in range(0, len(messages), 2_000):
            step(messages[at : at + 2_000], producer, args.output, totals)
            producer.poll(0)
            while len(producer) > 500_000:
                producer.poll(0.01)
        dirty = dirty or bool(messages)
        if dirty and time.monotonic() >= due:
            producer.flush()
            consumer.commit(asynchronous=False)
            due = time.monotonic() + args.commit_ms / 1000
            dirty = False
    consumer.close()


if __name__ == "__main__":
    run(read())
