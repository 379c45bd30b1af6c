"""Writes to targets in threads of their own: one per sink and task.

A target that hangs stops neither the processing of other tasks nor the heartbeats. The loop begins a write and later
asks for its outcome; while one is under way, the sink takes no more records than it has room for. A target that is
unavailable is tried again for the setting `retry_timeout`, as Kafka is. What a target has staged is written when it is
due, although nothing more comes.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from ...operators.errors import TidemillError
from ...operators.graph.target import Target, TargetFenced, TargetTask, TargetUnavailable
from ...operators.record import Record
from ..clock import Clock
from ..errors import Fatal, Fenced
from ..ids import path_safe
from ..threads import Thread
from .batch_writer import BatchWriter
from .figures import TargetFigures
from .retries import gives_up, pause, says_so
from .staged_writer import StagedWriter
from .staging import StagingTarget

__all__ = ["TargetThreads"]

LOG = logging.getLogger("tidemill.targets")
JOIN_SECONDS = 5.0
LOOK_SECONDS = 0.5
"""How often a writer looks whether what it has staged is to be written before it is due."""
T = TypeVar("T")


class Write(NamedTuple):
    """A write to do."""

    records: Sequence[Record[Any, Any]]
    position: int


class TargetThreads:
    """The writers of one process."""

    def __init__(self, application: str, clock: Clock, retry_timeout: int) -> None:
        """Create it; `retry_timeout` is in ms."""
        self.at_end = False
        """True when no more comes: what is staged is written at once."""
        self._application = application
        self.clock = clock
        self.retry_timeout = retry_timeout
        self._lock = threading.Lock()
        self._latest: dict[TargetTask, Thread] = {}
        """The thread that writes each task, or was the last to do so."""
        self.figures = TargetFigures()

    def writer(self, target: Target, sink: str, topic: str, topic_id: str, partition: int) -> _ThreadWriter:
        """Return the writer of a sink; it begins when the former one of this process has ended."""
        task = TargetTask(self._application, sink, topic, path_safe(topic_id), partition)
        writer = _ThreadWriter(self, target, task, self._latest.get(task))
        self._latest[task] = writer.thread
        return writer

    def wrote(self, task: TargetTask, records: int) -> None:
        """Count records that were written."""
        with self._lock:
            self.figures = self.figures.available(task.sink, task.partition).wrote(task.sink, records)

    def failed(self, task: TargetTask) -> None:
        """Count a failed attempt."""
        with self._lock:
            self.figures = self.figures.failed(task.sink, task.partition, self.clock.now())

    def available(self, task: TargetTask) -> None:
        """Note that a task can be written again, or is not written here any more."""
        with self._lock:
            self.figures = self.figures.available(task.sink, task.partition)

    def close(self) -> None:
        """Wait for the threads to end, for a few seconds; their writers are closed already."""
        until = self.clock.monotonic() + int(JOIN_SECONDS * 1000)
        for thread in self._latest.values():
            thread.join(max(0, until - self.clock.monotonic()) / 1000)


class _ThreadWriter:
    """The writer of one sink in one task. The thread starts with the first write."""

    def __init__(self, owner: TargetThreads, target: Target, task: TargetTask, former: Thread | None) -> None:
        self._owner = owner
        self._task = task
        self._former = former
        epoch = uuid.uuid4().hex
        self._staging = StagedWriter(target, task, epoch) if isinstance(target, StagingTarget) else None
        self._writer = self._staging or BatchWriter(target, task, epoch)
        self._writes: SimpleQueue[Write | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Mapping[int, Exception] | Exception] = SimpleQueue()
        self._closed = threading.Event()
        self._started = False
        self.failed = False
        self.thread = Thread(f"tidemill-target-{task.sink}-{task.partition}", self._run)

    @property
    def staged(self) -> int | None:
        return None if self._staging is None else self._staging.staged

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        self._writes.put(Write(records, position))
        if not self._started:
            self._started = True
            self.thread.start()

    def outcome(self) -> Mapping[int, Exception] | None:
        self.thread.check()
        if self._outcomes.empty():
            return None
        outcome = self._outcomes.get()
        if isinstance(outcome, Exception):
            raise self._failure(outcome) from outcome
        return outcome

    def close(self) -> None:
        self._closed.set()
        self._writes.put(None)
        self._owner.available(self._task)

    def _failure(self, failure: Exception) -> Exception:
        """Return what the main thread raises for a failure after which nothing more is written."""
        if isinstance(failure, TargetFenced):
            return Fenced(f"{self._where}: {failure}")
        if isinstance(failure, TargetUnavailable):
            waited = self._owner.retry_timeout // 1000
            return Fatal(
                f"{self._where}: the target has been unavailable for {waited} s (retry_timeout): {failure}. The next "
                "start goes on where the target is"
            )
        if isinstance(failure, TidemillError):
            return failure
        return Fatal(f"{self._where}: the target failed: {type(failure).__name__}: {failure}")

    @property
    def _where(self) -> str:
        return f"step {self._task.sink!r}, topic {self._task.topic!r}, partition {self._task.partition}"

    def _run(self) -> None:
        if self._former is not None:
            self._former.join()
        try:
            self._work()
        except Exception as failure:  # the main thread raises it
            self._outcomes.put(failure)
            self.failed = True
        finally:
            self._writer.close()

    def _work(self) -> None:
        """Do writes, and those of what is staged, until the writer is closed."""
        while not self._closed.is_set():
            try:
                work = self._writes.get(timeout=self._patience())
            except Empty:
                if self._patience() == 0:
                    self._roll()
                continue
            if work is None:
                return
            outcome = self._attempts(lambda work=work: self._write(work))
            if outcome is not None:
                self._outcomes.put(outcome)
            if self._patience() == 0:
                self._roll()

    def _write(self, work: Write) -> Mapping[int, Exception]:
        if self._staging is not None:
            return self._staging.write(work.records, work.position, self._owner.clock.monotonic())
        assert isinstance(self._writer, BatchWriter)
        refused = self._writer.write(work.records, work.position)
        self._owner.wrote(self._task, 0 if refused else len(work.records))
        return refused

    def _roll(self) -> None:
        """Write what is staged."""
        staging = self._staging
        assert staging is not None
        count = staging.records
        self._attempts(staging.roll)
        if staging.staged is None:
            self._owner.wrote(self._task, count)

    def _patience(self) -> float | None:
        """Return how many seconds to wait for a write before what is staged is due, None forever."""
        if self._staging is None:
            return None
        wait = self._staging.wait(self._owner.clock.monotonic())
        if wait is None:
            return None
        return 0 if self._owner.at_end else min(wait / 1000, LOOK_SECONDS)

    def _attempts(self, action: Callable[[], T]) -> T | None:
        """Return the result of an action, tried until the target is available.

        It is None if the writer was closed meanwhile."""
        clock, began, attempts = self._owner.clock, 0, 0
        said: int | None = None
        while not self._closed.is_set():
            try:
                result = action()
            except TargetUnavailable as failure:
                now = clock.monotonic()
                began = now if attempts == 0 else began
                attempts += 1
                self._owner.failed(self._task)
                if gives_up(began, now, self._owner.retry_timeout):
                    raise
                if says_so(said, now):
                    said = now
                    left = (self._owner.retry_timeout - (now - began)) // 1000
                    LOG.warning(
                        "%s: the target is unavailable: %s; retrying for up to %d s", self._where, failure, left
                    )
                self._closed.wait(pause(attempts) / 1000)
                continue
            if attempts:
                self._owner.available(self._task)
                LOG.info(
                    "%s: the target is available again, after %.1f s", self._where, (clock.monotonic() - began) / 1000
                )
            return result
        return None
