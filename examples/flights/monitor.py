"""Monitoring of the running demo: collects the status that display.py shows.

The number of processed messages is taken from the committed offsets of the group, and the number of commits is summed
over processes, so both stay correct while the application is down and after a restart.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from application import Application, Metrics
from broker import PREFIX
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient
from replay import Replay
from results import Results, Row


@dataclass(frozen=True)
class Status:
    """All values that are displayed, at one time."""

    sent: int
    total: int
    event_time: int
    processed: int
    sending_rate: float
    processing_rate: float
    commits: int
    commit_rate: float
    commit_ms: float | None
    state_bytes: float
    memory_bytes: float
    application: str
    kills: int
    updates: int
    repeats: int
    hours: list[tuple[str, int, Row]] = field(default_factory=list[tuple[str, int, Row]])
    airlines: list[tuple[str, Row]] = field(default_factory=list[tuple[str, Row]])

    @property
    def lag(self) -> int:
        """Return the number of messages in the topic that are not processed yet."""
        return max(self.sent - self.processed, 0)


class Rate:
    """The rate of increase of a counter, over the last seconds."""

    def __init__(self, seconds: float = 3) -> None:
        self._seconds = seconds
        self._points: deque[tuple[float, float]] = deque()

    def update(self, value: float) -> float:
        """Add a value of the counter and return the rate per second."""
        now = time.monotonic()
        self._points.append((now, value))
        while len(self._points) > 2 and self._points[0][0] < now - self._seconds:
            self._points.popleft()
        (first_time, first), (last_time, last) = self._points[0], self._points[-1]
        return (last - first) / (last_time - first_time) if last_time > first_time else 0.0


class Monitor(threading.Thread):
    """A thread that polls committed offsets and metrics of the application twice per second."""

    def __init__(self, admin: AdminClient, topic: str, replay: Replay, app: Application, results: Results) -> None:
        super().__init__(name="monitor", daemon=True)
        self.kills = 0
        self.processed = 0
        self._admin = admin
        self._topic = topic
        self.replay = replay
        self._app = app
        self.results = results
        self._metrics: Metrics | None = None
        self._state = self._memory = 0.0
        self._commits_before = 0
        self._commits = 0
        self._commit_ms: float | None = None
        self._pid = 0
        self._rates = Rate(), Rate(), Rate()
        self._halt = threading.Event()

    def run(self) -> None:
        while not self._halt.wait(0.5):
            with suppress(KafkaException):
                self.processed = self._committed()
            self._read_metrics()

    def _committed(self) -> int:
        """Return the sum of committed offsets: the topic begins at offset 0, so it is a count."""
        future = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(PREFIX)], request_timeout=5)
        committed: list[Any] = future[PREFIX].result().topic_partitions
        return sum(
            partition.offset for partition in committed if partition.topic == self._topic and partition.offset > 0
        )

    def _read_metrics(self) -> None:
        pid = self._app.pid
        metrics = self._metrics = self._app.metrics()
        if metrics is None:
            return
        if pid != self._pid:  # the counters of a new process begin at zero
            self._pid, self._commits_before = pid, self._commits
        count = metrics.get("tidemill_commit_seconds_count", 0)
        self._commits = self._commits_before + int(count)
        self._commit_ms = 1000 * metrics.get("tidemill_commit_seconds_sum", 0) / count if count else None
        self._state = metrics.get("tidemill_state_bytes", 0)
        self._memory = metrics.get("process_resident_memory_bytes", 0)

    def _application(self) -> str:
        if self._app.exit_code() is not None:
            return "killed" if self.kills else "stopped"
        metrics = self._metrics
        if metrics is None or not metrics.get("tidemill_joined"):
            return "starting"
        if metrics.get("tidemill_restore_remaining_records"):
            return f"restoring, {metrics['tidemill_restore_remaining_records']:,.0f} records to go"
        return "running"

    def status(self) -> Status:
        """Return the current status."""
        sending, processing, committing = self._rates
        return Status(
            sent=self.replay.sent,
            total=len(self.replay.events),
            event_time=self.replay.time,
            processed=self.processed,
            sending_rate=sending.update(self.replay.sent),
            processing_rate=processing.update(self.processed),
            commits=self._commits,
            commit_rate=committing.update(self._commits),
            commit_ms=self._commit_ms,
            state_bytes=self._state,
            memory_bytes=self._memory,
            application=self._application(),
            kills=self.kills,
            updates=self.results.updates,
            repeats=self.results.repeats,
            hours=self.results.latest_hours(6),
            airlines=self.results.largest_airlines(6),
        )

    def close(self) -> None:
        """Stop polling."""
        self._halt.set()
        if self.is_alive():
            self.join(5)
