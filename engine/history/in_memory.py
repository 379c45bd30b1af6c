"""Histories of a program without Kafka: they are read at once, and the topics begin empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...operators.graph.topology import Repartition
from ...operators.record import Row
from ...state.store import Position
from ...state.topic_partition import TopicPartition
from ..plan.plan import Plan, SubTopology
from ..tasks.history_inputs import inputs_now
from ..tasks.task import Task
from ..watermarks.watermarks import InputProgress
from .pieces import encoded
from .planning import pieces_at, topic_of_pieces

__all__ = ["after_histories", "first_inputs", "pieces_in_memory"]


def pieces_in_memory(plan: Plan) -> Iterator[tuple[str, list[Row]]]:
    """Yield the topics of pieces, and the pieces. Raises TopologyError and StorageError."""
    for node in plan.topology.nodes:
        if isinstance(node, Repartition) and node.history is not None:
            history = node.history
            given = replace(history, until=history.until if history.until is not None else {})
            count = next(part.partitions for part in plan.subtopologies if history.given.topic in part.topic_partitions)
            begins = dict.fromkeys(range(count), -1)
            pieces = pieces_at(given, lambda _, begins=begins: begins, ("", count))
            yield topic_of_pieces(plan, node), [(None, encoded(piece), 0, None, 0) for piece in pieces]


def first_inputs(part: SubTopology, number: int) -> Mapping[TopicPartition, int]:
    """Return the inputs of a task that begins, with their first offsets."""
    return dict.fromkeys(inputs_now(part.task_inputs(number), part.histories, {}, batch=False)[0], 0)


def after_histories(task: Task) -> tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, InputProgress]]:
    """Return the offsets of a task's inputs after its histories have ended, and their progress."""
    histories = task.subtopology.histories
    seen = dict(task.prepare_commit().seen)
    task.complete_commit(Position())
    offsets = dict(task.committed())
    for topic, number in [key for key in task.inputs if key[0] in histories]:
        del offsets[topic, number]
        offsets[histories[topic], number] = 0
        seen[histories[topic], number] = seen[topic, number]._replace(begins=None, rows=None)
    return offsets, seen
