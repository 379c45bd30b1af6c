"""Compare Faust applications under `tidemill faust worker` and Faust's own worker.

    python -m bench.faust_worker --broker localhost:9092 [--events 50000] [--kills 5]

It measures the rate at which committed offsets advance between a tenth and nine tenths of the input, and what is lost
or doubled when the worker is killed while it counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
PROGRAMS = Path(__file__).with_name("faust_programs")
WORKERS = ("tidemill", "faust")


def start(
    worker: str, program: str, broker: str, topic: str, name: str, directory: Path, tell: str
) -> subprocess.Popen:
    variables = {"BENCH_ID": name, "BENCH_BROKER": broker, "BENCH_TOPIC": topic, "BENCH_DIR": str(directory)}
    own = [sys.executable, "-m", "faust", "-A", program, "worker", "-l", "warn", "--without-web"]
    ours = [str(Path(sys.executable).with_name("tidemill")), "faust", "worker", "-A", program, "-l", "warn"]
    with (directory / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            ours if worker == "tidemill" else own,
            env={**os.environ, **variables, "BENCH_TELL": tell},
            cwd=PROGRAMS,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def make(broker: str, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics]).values():
        future.result(30)


def fill(broker: str, topic: str, program: str, events: int, seed: int) -> Counter[str]:
    """Write the input; return how often each key is in it."""
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "queue.buffering.max.messages": 500_000})
    chance, seen = random.Random(seed), Counter[str]()
    for number in range(events):
        key = f"word{chance.randrange(5000)}" if program == "words" else f"/p/{chance.randrange(500)}"
        view = {"page": key, "user": f"u{number % 1000}", "ms": number % 300}
        producer.produce(topic, json.dumps(key if program == "words" else view).encode(), key=key.encode())
        seen[key] += 1
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush()
    return seen


def committed(consumer: Consumer, topic: str) -> int:
    try:
        places = consumer.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout=10)
    except KafkaException:
        return 0
    return sum(max(0, place.offset) for place in places)


def rate(worker: str, program: str, broker: str, topic: str, events: int, directory: Path) -> float:
    """Events per second."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    consumer = Consumer({"bootstrap.servers": broker, "group.id": name, "enable.auto.commit": False})
    child = start(worker, program, broker, topic, name, directory, "0")
    samples: list[tuple[float, int]] = []
    deadline = time.monotonic() + 300
    while (done := committed(consumer, topic)) < events and time.monotonic() < deadline and child.poll() is None:
        samples.append((time.monotonic(), done))
        time.sleep(0.02)
    samples.append((time.monotonic(), done))
    child.terminate()
    child.wait(60)
    consumer.close()
    middle = [sample for sample in samples if 0.1 * events <= sample[1] <= 0.9 * events]
    if len(middle) < 2:
        raise SystemExit(f"{worker} {program}: no rate, see the log in {directory}")
    return (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])


def last_values(broker: str, topic: str) -> tuple[Counter[str], int]:
    """Return the last value of each key, and the number of records."""
    options = {"bootstrap.servers": broker, "group.id": "bench-reader", "isolation.level": "read_committed"}
    consumer = Consumer({**options, "enable.auto.commit": False, "enable.partition.eof": True})
    found, records = Counter[str](), 0
    for number in range(PARTITIONS):
        consumer.assign([TopicPartition(topic, number, 0)])
        while True:
            message = consumer.poll(5)
            if message is None or message.error():
                break
            key, value = message.key(), message.value()
            assert key is not None
            assert value is not None
            found[key.decode()] = int(value)
            records += 1
    consumer.close()
    return found, records


def killed(worker: str, broker: str, events: int, kills: int, directory: Path) -> str:
    """Return how much a count is off after kills."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    topic = f"{name}-words"
    make(broker, topic, f"{name}-counted")
    consumer = Consumer({"bootstrap.servers": broker, "group.id": name, "enable.auto.commit": False})
    wanted, chance = Counter[str](), random.Random(1)
    child = start(worker, "words", broker, topic, name, directory, "1")
    for kill in range(kills + 1):
        if kill:
            child = start(worker, "words", broker, topic, name, directory, "1")
        before = committed(consumer, topic)
        wanted += fill(broker, topic, "words", events // (kills + 1), kill)
        deadline = time.monotonic() + 60
        while committed(consumer, topic) <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        if kill < kills:
            time.sleep(chance.uniform(0, 0.3))
            child.kill()
            child.wait()
    total, deadline = sum(wanted.values()), time.monotonic() + 120
    while committed(consumer, topic) < total and time.monotonic() < deadline:
        time.sleep(0.1)
    child.terminate()
    child.wait(60)
    consumer.close()
    found, records = last_values(broker, f"{name}-counted")
    wrong = sum(found[word] != wanted[word] for word in wanted)
    return f"{records - total:+d} results, {wrong} of {len(wanted)} counts wrong, sum {sum(found.values()) - total:+d}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faust_worker", description=__doc__)
    parser.add_argument("--broker", default="localhost:9092")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="faust-worker-"))
    print(f"logs in {directory}", file=sys.stderr)
    print("| program | tidemill faust worker | Faust's worker | ratio |\n|---|---|---|---|", flush=True)
    for program in ("words", "views"):
        topic = f"bench-{program}-{uuid.uuid4().hex[:8]}"
        make(given.broker, topic)
        fill(given.broker, topic, program, given.events, 1)
        ours, theirs = (rate(one, program, given.broker, topic, given.events, directory) for one in WORKERS)
        print(f"| {program} | {ours:,.0f}/s | {theirs:,.0f}/s | {ours / theirs:.1f} |", flush=True)
    if given.kills:
        ours, theirs = (killed(one, given.broker, given.events, given.kills, directory) for one in WORKERS)
        print(f"| words, {given.kills} kills | {ours} | {theirs} | |", flush=True)


if __name__ == "__main__":
    main()
