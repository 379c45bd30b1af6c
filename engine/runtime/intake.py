"""From the consumer to the tasks: who gets which partition's records, and when a partition is paused.

Keeps which running task owns which input, hands batches and ends over to it, works the valves that
`tasks/flow_control.py` decides on, so that memory is bounded whatever the backlog, and restarts partitions that
`stalled_partitions.py` finds silent.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from ...operators.record import Batch
from ..clock import Clock
from ..config.arguments import MisplacedKeys
from ..errors import TopologyError
from ..kafka.consumer import InputConsumer
from ..tasks.flow_control import valves
from ..tasks.task import Task
from ..topics.partitioner_check import Placement
from .stalled_partitions import Reading, Stalls

__all__ = ["Intake"]

LOG = logging.getLogger("tidemill.intake")
Key = tuple[str, int]
NAMED = 5
"""How many partitions a message names."""


class Intake:
    """The inputs of the running tasks."""

    def __init__(self, consumer: InputConsumer, budget: int, clock: Clock, misplaced: MisplacedKeys = "stop") -> None:
        """`budget` is for the bytes that wait in all tasks together; `misplaced` says what to do about records that do
        not lie where those of their key do in other topics."""
        self._consumer = consumer
        self._clock = clock
        self._misplaced: MisplacedKeys = misplaced
        self._placement = Placement()
        self._budget = budget
        self._owner: dict[Key, Task] = {}
        self._stalls = Stalls()

    def begin(self, task: Task) -> None:
        """Reads a task's inputs from where it is."""
        self._owner.update(dict.fromkeys(task.inputs, task))
        self._consumer.assign(task.positions())

    def end(self, tasks: Iterable[Task]) -> None:
        """Stops reading the inputs of tasks."""
        keys = [key for task in tasks for key in task.inputs]
        self._consumer.unassign(keys)
        for key in keys:
            del self._owner[key]
        self._stalls.forget(keys)

    def rewind(self, offsets: Mapping[Key, int]) -> None:
        """Reads inputs again from these offsets."""
        self._consumer.rewind(offsets)
        self._stalls.forget(offsets)

    def receive(self, limit: int, timeout: float) -> Mapping[Key, int]:
        """Hands what has arrived to its tasks; gives the ends of partitions that were met.

        Waits up to `timeout` seconds when nothing is there. Raises RecordError for a record that cannot be decoded.
        """
        polled = self._consumer.poll(limit, timeout)
        for batch in polled.batches:
            task = self._owner.get((batch.topic, batch.partition))
            if task is not None:
                if self._misplaced != "ignore":
                    self._look_at(task, batch)
                task.offer(batch, self._clock.now())
                self._stalls.heard(batch.topic, batch.partition)
        for key, end in polled.ends.items():
            task = self._owner.get(key)
            if task is not None:
                task.caught_up(key, True, end)
        self._stalls.ended(polled.ends)
        return polled.ends

    def gone(self) -> frozenset[str]:
        """Topics that the client did not find any more since the last call."""
        found = frozenset(self._consumer.gone)
        self._consumer.gone.clear()
        return found

    def _look_at(self, task: Task, batch: Batch) -> None:
        text = self._placement.look(task.part, batch)
        if text is not None and self._misplaced == "stop":
            raise TopologyError(f"{text}. The setting misplaced_keys=warn goes on without these matches")
        if text is not None:
            LOG.warning("%s", text)

    def operate_valves(self) -> None:
        """Pauses partitions that hold too much and resumes those that do not any more."""
        waiting: dict[Key, int] = {}
        for task in self._owner.values():
            waiting.update(task.buffered())
        pause, resume = valves(waiting, self._consumer.paused, self._budget)
        self._consumer.pause(pause)
        self._consumer.resume(resume)

    def restart_stalled(self, now: int) -> None:
        """Reads partitions again that have records and deliver none, from where they are; with a new client when that
        has not helped. `now` in ms."""
        if not self._stalls.due(now):
            return
        paused = self._consumer.paused
        readings: dict[Key, Reading] = {}
        for task in self._owner.values():
            buffered, positions = task.buffered(), task.positions()
            for key in task.inputs:
                if key not in readings:
                    waits = buffered[key] > 0 or key in paused
                    readings[key] = Reading(positions[key], self._consumer.end(key), waits)
        stalled = self._stalls.look(readings, now)
        if not stalled:
            return
        if self._stalls.given_up(stalled):
            LOG.warning("%s; reading again has not helped: a new Kafka client takes over", told(stalled.values()))
            self._consumer.replace({key: one.position for key, one in readings.items()})
            self._stalls.forget(readings)
        else:
            LOG.warning("%s; the client is told to read again from there", told(stalled.values()))
            self.rewind({key: readings[key].position for key in stalled})
        self._stalls.read_again(stalled)

    def log_end(self, key: Key) -> int:
        """The end offset of a partition as last heard of; -1 when not known."""
        return self._consumer.end(key)

    def close(self) -> None:
        """Closes the consumer."""
        self._consumer.close()


def told(places: Collection[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(places) - NAMED
    return "; ".join([*list(places)[:NAMED], *([f"and {more} more partitions"] if more > 0 else [])])
