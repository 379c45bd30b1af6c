"""One process that opens a task, with real stores and scripted fakes of the group, the topics and the changelog."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.engine.clock import ManualClock
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import Retryable
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.restore.opening import Ready
from tidemill.engine.restore.recovery import Recovery
from tidemill.engine.restore.stores import TaskStores
from tidemill.engine.snapshots.downloads import DownloadSource
from tidemill.operators.record import Batch
from tidemill.state.store import TOMBSTONES_KEPT_MS, frame
from tidemill.state.topic_partition import TopicPartition

__all__ = ["HOUR", "PLAN", "TASK", "Kafka", "Process", "Reader", "content", "planned"]

HOUR = 3_600_000


def planned(store: str = "n") -> Any:
    app = tm.App("app")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().count().named(store)
    return plan(partition(app.topology()), "app", {"in": 1}, {})


PLAN = planned()
TASK = PLAN.tasks()[0]


class Kafka:
    """A fake of the group, the topics, the changelog of one task, and its reader."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes, bytes | None]] = []
        self.begin = 0
        self.end = 0
        self.kept = TOMBSTONES_KEPT_MS
        self.fails = 0
        """How many questions for the end go unanswered."""
        self.at: dict[TopicPartition, int] = {}
        self.raises: list[Exception] = []

    def put(self, key: bytes, value: bytes | None) -> None:
        self.rows.append((self.end, key, None if value is None else frame(value)))
        self.end += 1

    def compact(self) -> None:
        """Compact the changelog: keep the last record per key and the end offset, and drop tombstones."""
        newest = {key: offset for offset, key, _ in self.rows}
        self.rows = [
            row for row in self.rows if (newest[row[1]] == row[0] and row[2] is not None) or row[0] == self.end - 1
        ]

    # The group

    generation = 1

    def fence(self, tasks: Iterable[Any]) -> concurrent.futures.Future[Any]:
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        done.set_result({})
        return done

    def opened(self, fenced: Any) -> None:
        pass

    def fetch_offsets(
        self, partitions: Iterable[TopicPartition], timeout: float = 0
    ) -> dict[TopicPartition, tuple[int, str]]:
        return dict.fromkeys(partitions, (10, ""))

    def sweep(self) -> list[str]:
        return []

    # The topics

    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(keys, self.begin)

    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]:
        self.fails -= 1
        if self.fails >= 0:
            raise Retryable("the leader did not answer")
        return dict.fromkeys(keys, self.end)

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, self.kept)

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(names, "an id")

    # The reader

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.at.update(offsets)

    def unassign(self, keys: Iterable[TopicPartition]) -> None:
        for key in keys:
            self.at.pop(key, None)

    def poll(self, limit: int, timeout: float) -> Polled:
        if self.raises:
            raise self.raises.pop(0)
        [key] = self.at or [("", 0)]
        at = self.at.get(key, self.end)
        if at >= self.end:
            return Polled([], {})
        rows = [row for row in self.rows if row[0] >= at]
        self.at[key] = self.end
        if not rows:
            return Polled([], {key: self.end})
        keys, values = [row[1] for row in rows], [row[2] for row in rows]
        batch = Batch(*key, keys, values, [0] * len(rows), [row[0] for row in rows], None, 0)  # type: ignore[arg-type]
        return Polled([batch], {key: self.end})

    def close(self) -> None:
        self.at.clear()


class Process:
    """A process with a state directory, which tests can restart."""

    def __init__(self, kafka: Kafka, path: Path) -> None:
        self.kafka = kafka
        self.clock = ManualClock(1_700_000_000_000)
        self.clock.sleep = lambda ms: None
        self.path = path
        self.openings = 0
        self.source: DownloadSource | None = None
        """Where it finds snapshots."""
        self.begin()

    def begin(self, plan: Any = PLAN) -> None:
        self.plan = plan
        self.stores = TaskStores(Settings(app_id="app", state_dir=self.path))
        parts: tuple[Any, Any, Any] = (self.kafka, self.kafka, Reader(self.kafka))
        self.recovery = Recovery(plan, *parts, self.stores, self.clock, False, self.source)

    def end(self) -> None:
        self.recovery._closing = True
        self.recovery.run(lambda _seconds: None)
        self.stores.__exit__(None, None, None)

    def opened(self, steps: int = 6) -> Ready:
        self.openings += 1
        self.recovery.open({TASK: self.openings})
        self.recovery.standby([])
        for _ in range(steps):
            self.recovery._step()
        [ready] = self.recovery.finished()
        assert isinstance(ready, Ready)
        return ready

    def follow(self, steps: int = 4) -> None:
        self.recovery.standby([TASK])
        for _ in range(steps):
            self.recovery._step()


class Reader:
    """A reader of the fake changelog."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self.assign, self.unassign, self.poll, self.close = kafka.assign, kafka.unassign, kafka.poll, kafka.close

    def end(self, key: TopicPartition) -> int:
        return self._kafka.end


def content(ready: Ready, store: str = "n") -> set[bytes]:
    """Return the keys of the store, and close it."""
    found = {key for key, _ in ready.stores["rocksdb"].scan(store, b"", None)}
    ready.close()
    return found
