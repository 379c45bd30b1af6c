"""A thread that replays a year of flights into a topic within a given number of seconds.

Messages are sent in proportion to their scheduled departures, so the rate varies with the time of day. The producer is
idempotent: the only duplicates in the topic are those that the feed contains.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from feed import Event


class Replay(threading.Thread):
    """The replay; `sent` counts messages with repeats, `time` is the newest scheduled departure."""

    def __init__(self, broker: str, topic: str, events: list[Event], seconds: float) -> None:
        super().__init__(name="replay", daemon=True)
        self.events = events
        self.sent = 0
        self.time = events[0].time
        self.failure: str | None = None
        self._topic = topic
        self._speed = (events[-1].time - events[0].time) / max(seconds, 0.001)
        self._halt = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": broker,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "partitioner": "murmur2_random",  # as the Java client
                "log_level": 0,
            }
        )

    @property
    def done(self) -> bool:
        """Return whether all messages are in the topic."""
        return self.sent == len(self.events) and not self.is_alive()

    def run(self) -> None:
        try:
            self._replay()
        except (KafkaException, BufferError) as failure:
            self.failure = str(failure)

    def _replay(self) -> None:
        start = time.monotonic()
        first = self.events[0].time
        for event in self.events:
            due = start + (event.time - first) / self._speed
            while (early := due - time.monotonic()) > 0.005:
                self._producer.poll(0)
                if self._halt.wait(min(early, 0.05)):
                    return
            if self._halt.is_set():
                return
            self._send(event)
            self.sent += 1
            self.time = max(self.time, event.time)
        left = self._producer.flush(30)
        if left:
            self.failure = self.failure or f"{left} messages were not acknowledged within 30 s"

    def _send(self, event: Event) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, event.value, event.key, timestamp=event.time, on_delivery=self._delivered
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failure = f"a message was not delivered: {error.str()}"

    def close(self) -> None:
        """Stop the replay."""
        self._halt.set()
        if self.is_alive():
            self.join(5)
