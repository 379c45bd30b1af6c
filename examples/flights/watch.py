"""What there is to see while the demo runs, as one value a moment: gathered here, drawn in view.py.

Counters are those of the world, not of a process: what is committed comes from the group's offsets at the broker, so
the figures go on being true while the application is dead and after it has come back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from application import Application, Figures
from broker import PREFIX
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient
from replay import Replay
from results import Results, Row


@dataclass(frozen=True)
class Moment:
    """Everything that is shown, at one moment."""

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
        """Messages that are in the topic and not yet processed."""
        return max(self.sent - self.processed, 0)


class Rate:
    """How fast a growing number grows, over the last seconds."""

    def __init__(self, seconds: float = 3) -> None:
        self._seconds = seconds
        self._points: deque[tuple[float, float]] = deque()

    def of(self, value: float) -> float:
        """Adds a point and gives the slope, per second."""
        now = time.monotonic()
        self._points.append((now, value))
        while len(self._points) > 2 and self._points[0][0] < now - self._seconds:
            self._points.popleft()
        (then, before), (at, last) = self._points[0], self._points[-1]
        return (last - before) / (at - then) if at > then else 0.0


class Watch(threading.Thread):
    """Asks the broker for committed offsets and the application for its metrics, twice a second."""

    def __init__(self, admin: AdminClient, topic: str, replay: Replay, app: Application, results: Results) -> None:
        super().__init__(name="watch", daemon=True)
        self.kills = 0
        self.processed = 0
        self._admin = admin
        self._topic = topic
        self.replay = replay
        self._app = app
        self.results = results
        self._figures: Figures | None = None
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
        """Messages of the flights' topic that the group has committed: it begins at offset 0, so offsets are counts."""
        future = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(PREFIX)], request_timeout=5)
        partitions: list[Any] = future[PREFIX].result().topic_partitions
        return sum(place.offset for place in partitions if place.topic == self._topic and place.offset > 0)

    def _read_metrics(self) -> None:
        pid = self._app.pid
        figures = self._figures = self._app.metrics()
        if figures is None:
            return
        if pid != self._pid:  # a new process counts from zero
            self._pid, self._commits_before = pid, self._commits
        count = figures.get("tidemill_commit_seconds_count", 0)
        self._commits = self._commits_before + int(count)
        self._commit_ms = 1000 * figures.get("tidemill_commit_seconds_sum", 0) / count if count else None
        self._state = figures.get("tidemill_state_bytes", 0)
        self._memory = figures.get("process_resident_memory_bytes", 0)

    def _application(self) -> str:
        if self._app.exit_code() is not None:
            return "killed" if self.kills else "stopped"
        figures = self._figures
        if figures is None or not figures.get("tidemill_joined"):
            return "starting"
        if figures.get("tidemill_restore_remaining_records"):
            return f"restoring, {figures['tidemill_restore_remaining_records']:,.0f} records to go"
        return "running"

    def moment(self) -> Moment:
        """Everything that is shown, now."""
        sending, processing, committing = self._rates
        return Moment(
            sent=self.replay.sent,
            total=len(self.replay.events),
            event_time=self.replay.time,
            processed=self.processed,
            sending_rate=sending.of(self.replay.sent),
            processing_rate=processing.of(self.processed),
            commits=self._commits,
            commit_rate=committing.of(self._commits),
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
        """Stops watching."""
        self._halt.set()
        if self.is_alive():
            self.join(5)
