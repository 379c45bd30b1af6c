"""From the consumer to the tasks: who gets which partition's records, and when a partition is paused.

Keeps which running task owns which input, hands batches and ends over to it, and works the valves that `flow.py`
decides on, so that memory is bounded whatever the backlog.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .flow import valves
from .kafka.consumer import InputConsumer
from .task import Task

__all__ = ["Intake"]

Key = tuple[str, int]


class Intake:
    """The inputs of the running tasks."""

    def __init__(self, consumer: InputConsumer, budget: int) -> None:
        """`budget` is for the bytes that wait in all tasks together."""
        self._consumer = consumer
        self._budget = budget
        self._owner: dict[Key, Task] = {}
        self._paused: set[Key] = set()

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
        self._paused.difference_update(keys)

    def rewind(self, offsets: Mapping[Key, int]) -> None:
        """Reads inputs again from these offsets."""
        self._consumer.rewind(offsets)
        self._paused.difference_update(offsets)

    def receive(self, limit: int, timeout: float) -> Mapping[Key, int]:
        """Hands what has arrived to its tasks; gives the ends of partitions that were met.

        Waits up to `timeout` seconds when nothing is there. Raises RecordError for a record that cannot be decoded.
        """
        polled = self._consumer.poll(limit, timeout)
        for batch in polled.batches:
            task = self._owner.get((batch.topic, batch.partition))
            if task is not None:
                task.offer(batch)
        for key in polled.ends:
            task = self._owner.get(key)
            if task is not None:
                task.caught_up(key, True)
        return polled.ends

    def operate_valves(self) -> None:
        """Pauses partitions that hold too much and resumes those that do not any more."""
        waiting: dict[Key, int] = {}
        for task in self._owner.values():
            waiting.update(task.buffered())
        pause, resume = valves(waiting, frozenset(self._paused), self._budget)
        if pause:
            self._consumer.pause(pause)
            self._paused.update(pause)
        if resume:
            self._consumer.resume(resume)
            self._paused.difference_update(resume)

    def log_end(self, key: Key) -> int:
        """The end offset of a partition as last heard of; -1 when not known."""
        return self._consumer.end(key)

    def close(self) -> None:
        """Closes the consumer."""
        self._consumer.close()
