"""Live traffic for docker-compose.yml: makes the topics of the flights example, or replays the year of flights into it.

    python docker/flights.py topics|replay

Both may be run again: topics that exist are left alone, and a topic that has flights in it gets no second year.
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
from broker import NoBroker, reach
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from replay import Replay

FLIGHTS = "tidemill-demo-flights"
TOPICS = [FLIGHTS, "tidemill-demo-airport-hours", "tidemill-demo-airlines", "tidemill-demo-repeats"]
PARTITIONS = 6


def make_topics(admin: AdminClient) -> None:
    missing = [name for name in TOPICS if name not in admin.list_topics(timeout=10).topics]
    forever = {"retention.ms": "-1"}  # the records are of 2013
    wanted = [NewTopic(name, PARTITIONS, -1, config=forever) for name in missing]
    for name, future in (admin.create_topics(wanted) if wanted else {}).items():
        future.result(60)
        print(f"made {name} with {PARTITIONS} partitions", flush=True)


def sent_already(admin: AdminClient) -> bool:
    end: Any = OffsetSpec.latest()
    asked = {TopicPartition(FLIGHTS, partition): end for partition in range(PARTITIONS)}
    return any(future.result(30).offset > 0 for future in admin.list_offsets(asked).values())


def replay(broker: str, seconds: float) -> str | None:
    """Sends the year; gives what went wrong."""
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
    """What `sys.exit` takes: None, or what went wrong."""
    if sys.argv[1:] not in (["topics"], ["replay"]):
        return __doc__
    broker = os.environ["TIDEMILL_BROKER"]
    try:
        admin = reach(broker, 60)
        if sys.argv[1] == "topics":
            return make_topics(admin)
        if sent_already(admin):
            print("the flights are in the topic already; `docker compose down --volumes` starts afresh")
            return None
        return replay(broker, float(os.environ.get("REPLAY_SECONDS") or "600"))
    except (NoBroker, KafkaException) as failure:
        return f"Kafka failed: {failure}"


if __name__ == "__main__":
    sys.exit(main())
