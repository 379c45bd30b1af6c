"""Input for docker-compose.yml: creates topics of the flights example, or replays flights.

    python docker/flights.py topics|replay

Both commands are idempotent: existing topics are not changed, and flights are only replayed into an empty topic.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "flights"))

import feed
from broker import BrokerError, connect
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from replay import Replay

FLIGHTS = "tidemill-demo-flights"
TOPICS = [FLIGHTS, "tidemill-demo-airport-hours", "tidemill-demo-airlines", "tidemill-demo-repeats"]
PARTITIONS = 6


def create_topics(admin: AdminClient) -> None:
    missing = [name for name in TOPICS if name not in admin.list_topics(timeout=10).topics]
    forever = {"retention.ms": "-1"}  # the records are of 2013
    topics = [NewTopic(name, PARTITIONS, -1, config=forever) for name in missing]
    for name, future in (admin.create_topics(topics) if topics else {}).items():
        future.result(60)
        print(f"created {name} with {PARTITIONS} partitions", flush=True)


def has_flights(admin: AdminClient) -> bool:
    end: Any = OffsetSpec.latest()
    partitions = {TopicPartition(FLIGHTS, partition): end for partition in range(PARTITIONS)}
    return any(future.result(30).offset > 0 for future in admin.list_offsets(partitions).values())


def replay(broker: str, seconds: float) -> str | None:
    """Replay all flights; return an error message, or None on success."""
    events = list(feed.with_repeats(feed.flights()))
    thread = Replay(broker, FLIGHTS, events, seconds)
    signal.signal(signal.SIGTERM, lambda *_: thread.close())
    thread.start()
    while thread.is_alive():
        thread.join(10)
        day = time.strftime("%d %B %Y", time.gmtime(thread.time / 1000))
        print(f"{thread.sent:,} of {len(events):,} messages sent, to {day}", flush=True)
    return thread.failure


def main() -> str | None:
    """Run the command; return an error message for `sys.exit`, or None on success."""
    if sys.argv[1:] not in (["topics"], ["replay"]):
        return __doc__
    broker = os.environ["TIDEMILL_BROKER"]
    try:
        admin = connect(broker, 60)
        if sys.argv[1] == "topics":
            return create_topics(admin)
        if has_flights(admin):
            print("the topic has flights already; run `docker compose down --volumes` to delete all data")
            return None
        return replay(broker, float(os.environ.get("REPLAY_SECONDS") or "600"))
    except (BrokerError, KafkaException) as failure:
        return f"Kafka failed: {failure}"


if __name__ == "__main__":
    sys.exit(main())
