"""The path of records from the consumer to the tasks, with flow control.

Knows which running task owns which input, and passes batches and partition ends to it. Pauses and resumes partitions as
`tasks/flow_control.py` decides, so that memory is bounded whatever the backlog, and restarts partitions that
`kafka/stalled_partitions.py` finds stalled.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from ...operators.record import Batch
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..config.settings import MisplacedKeys
from ..errors import Retryable, TopologyError
from ..kafka.consumer import InputConsumer, Polled
from ..kafka.stalled_partitions import PartitionProgress, StallDetector
from ..tasks.flow_control import pause_and_resume
from ..tasks.held_batches import HeldBatches
from ..tasks.task import Task
from ..topics.partitioner_check import PartitionerCheck

__all__ = ["Intake"]

LOG = logging.getLogger("tidemill.intake")
NO_ENDS: Mapping[TopicPartition, int] = {}


class Intake:
    """The inputs of the running tasks."""

    def __init__(
        self,
        consumer: InputConsumer,
        budget: int,
        clock: Clock,
        misplaced: MisplacedKeys = "stop",
        ends: Mapping[TopicPartition, int] = NO_ENDS,
    ) -> None:
        """Create it; `budget` limits the buffered bytes of all tasks together.

        `misplaced` says what to do about records that are in another partition than those of their key in other topics.
        Of partitions in `ends`, nothing from that offset on is read.
        """
        self._consumer = consumer
        self._clock = clock
        self._misplaced: MisplacedKeys = misplaced
        self._placement = PartitionerCheck()
        self._budget = budget
        self._owner: dict[TopicPartition, Task] = {}
        self._stalls = StallDetector()
        self._held = HeldBatches()
        self._ends = self._last = ends
        self._over: set[TopicPartition] = set()
        """Partitions that were read to where `ends` says."""

    def limit(self, ends: Mapping[TopicPartition, int]) -> None:
        """Set the offsets from which on nothing is read; the caller rewinds all inputs."""
        self._ends = {**self._last, **ends}

    def begin(self, task: Task) -> None:
        """Start reading the inputs of a task from its positions."""
        self._owner.update(dict.fromkeys(task.inputs, task))
        self._over.difference_update(task.inputs)
        self._consumer.assign(task.positions())

    def end(self, tasks: Iterable[Task]) -> None:
        """Stop reading the inputs of tasks."""
        keys = [key for task in tasks for key in task.inputs]
        self._consumer.unassign(keys)
        for key in keys:
            del self._owner[key]
        self._over.difference_update(keys)
        self._held.forget(keys)
        self._stalls.forget(keys)

    def rewind(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read inputs again from these offsets."""
        self._over.difference_update(offsets)
        self._consumer.rewind(offsets)
        self._held.forget(offsets)
        self._stalls.forget(offsets)

    def receive(self, limit: int, timeout: float) -> Mapping[TopicPartition, int]:
        """Pass fetched records to their tasks; return the partition ends that were reached.

        Waits up to `timeout` seconds if nothing has arrived. Raises RecordError for a record that cannot be decoded.
        Records that cannot be decoded yet are held, with those after them, and passed on later.
        """
        self._offer_held()
        polled = self._consumer.poll(limit, timeout)
        if self._ends:
            polled, over = up_to(polled, self._ends)
            self._over |= over
        for batch in polled.batches:
            task = self._owner.get((batch.topic, batch.partition))
            if task is not None:
                if self._misplaced != "ignore":
                    self._look_at(task, batch)
                self._offer(task, batch)
                self._stalls.note(batch.topic, batch.partition)
        for key, end in polled.ends.items():
            task = self._owner.get(key)
            if task is not None and not self._held.ended(key, end):
                task.caught_up(key, True, end)
        self._stalls.ended(polled.ends)
        return polled.ends

    def _offer(self, task: Task, batch: Batch) -> None:
        key = (batch.topic, batch.partition)
        if not self._held.holds(key):
            try:
                task.offer(batch, self._clock.now())
                return
            except Retryable:
                task.await_input(key, True)
        self._held.hold(batch)

    def _offer_held(self) -> None:
        """Pass on the batches that were held, as far as they can be decoded now."""
        if not self._held.due(self._clock.monotonic()):
            return
        for key in self._held.partitions():
            for batch in self._held.take(key):
                self._offer(self._owner[key], batch)
            if self._held.holds(key):
                continue
            task, end = self._owner[key], self._held.passed(key)
            task.await_input(key, False)
            if end is not None:
                task.caught_up(key, True, end)

    @property
    def held(self) -> int:
        """The number of partitions with records that cannot be decoded yet."""
        return len(self._held)

    def gone(self) -> frozenset[str]:
        """Return the topics that the client has found missing since the last call."""
        found = frozenset(self._consumer.gone)
        self._consumer.gone.clear()
        return found

    def _look_at(self, task: Task, batch: Batch) -> None:
        text = self._placement.look(task.subtopology, batch)
        if text is not None and self._misplaced == "stop":
            raise TopologyError(f"{text}. The setting misplaced_keys=warn continues without these matches")
        if text is not None:
            LOG.warning("%s", text)

    def apply_flow_control(self) -> None:
        """Pause partitions with too many buffered bytes, and resume those below the limit."""
        waiting: dict[TopicPartition, int] = {}
        for task in self._owner.values():
            waiting.update(task.buffered())
        for key, size in self._held.sizes().items():
            waiting[key] = waiting.get(key, 0) + size
        pause, resume = pause_and_resume(waiting, self._consumer.paused, self._budget)
        self._consumer.pause([*pause, *(self._over - self._consumer.paused)])
        self._consumer.resume([key for key in resume if key not in self._over])

    def restart_stalled(self, now: int) -> None:
        """Refetch partitions that have records but deliver none; `now` is in ms.

        If that has not helped before, the client is replaced.
        """
        if not self._stalls.due(now):
            return
        paused = self._consumer.paused
        readings: dict[TopicPartition, PartitionProgress] = {}
        for task in self._owner.values():
            buffered, positions = task.buffered(), task.positions()
            for key in task.inputs:
                if key not in readings:
                    waits = buffered[key] > 0 or key in paused or self._held.holds(key)
                    readings[key] = PartitionProgress(positions[key], self._consumer.end(key), waits)
        restart = self._stalls.restart(readings, now)
        if restart is None:
            return
        LOG.warning("%s", restart.message)
        if restart.new_client:
            self._consumer.replace(restart.offsets)
        else:
            self._consumer.rewind(restart.offsets)

    def log_end(self, key: TopicPartition) -> int:
        """Return the last known end offset of a partition, or -1 if unknown."""
        return self._consumer.end(key)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def up_to(polled: Polled, ends: Mapping[TopicPartition, int]) -> tuple[Polled, set[TopicPartition]]:
    """Return what was polled before the given ends, and the partitions that have reached them."""
    batches: list[Batch] = []
    reached = dict(polled.ends)
    for batch in polled.batches:
        end = ends.get(key := (batch.topic, batch.partition))
        left = batch if end is None else batch.before(bisect_left(batch.offsets, end))
        if left is not batch and end is not None:
            reached[key] = end
        if left is not None:
            batches.append(left)
    over = {key for key, end in reached.items() if key in ends and end >= ends[key]}
    return Polled(batches, {key: min(end, ends.get(key, end)) for key, end in reached.items()}), over
