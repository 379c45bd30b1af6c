"""The time of a task: from its inputs to its steps, and on to the readers of its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...operators.record import Batch, Outgoing
from ...state.topic_partition import TopicPartition
from ..plan.plan import SubTopology
from ..watermarks.mark_emitter import MarkedTopic, MarkEmitter
from ..watermarks.mark_receiver import MarkReceiver
from ..watermarks.records import ProducerState
from ..watermarks.watermarks import NOTHING, InputProgress, Watermarks
from .buffer import InputBuffer
from .history_inputs import HistoryInputs
from .operator_graph import OperatorGraph
from .ordered_buffer import OrderedBuffer

__all__ = ["TaskTime"]

LIVE_MS = 2_000
"""A task that was at the end of its inputs within this time has no backlog."""


class TaskTime:
    """The time of one task."""

    def __init__(
        self,
        subtopology: SubTopology,
        number: int,
        keys: tuple[TopicPartition, ...],
        seen: Mapping[TopicPartition, InputProgress],
    ) -> None:
        """Make the time of a task with the inputs `keys`.

        `seen` is the progress of the inputs up to the offsets that they are read from.
        """
        nodes = dict(subtopology.inputs)
        self._inputs = keys
        self.histories = HistoryInputs(keys, subtopology.histories, seen)
        self._mark_receiver = MarkReceiver(subtopology.marking.producers, keys, seen)
        inputs = {
            (topic, at): mark
            for topic, at in self._inputs
            if (mark := nodes[topic].watermark) is not None and topic not in subtopology.marking.silent
        }
        self._watermarks = Watermarks(inputs, seen, self._mark_receiver.processed()) if inputs else None
        topics = {
            node: MarkedTopic(subtopology.writes[node], partitions, None if mark is None else mark.grain)
            for node, partitions in subtopology.marking.marked_repartitions.items()
            for mark in (next(each.watermark for each in subtopology.nodes if each.id == node),)
        }
        self._mark_emitter = MarkEmitter(subtopology.mark_id, number, subtopology.partitions, topics)
        self._live_until = -1

    def resume(self, graph: OperatorGraph) -> None:
        """Give steps that have just been built the watermark of their predecessors."""
        if self._watermarks is not None and self._watermarks.resumed >= 0:
            graph.resume(self._watermarks.resumed)

    # Incoming

    def take(self, key: TopicPartition, batch: Batch) -> tuple[Batch | None, int]:
        """Return a batch without marks and ends of histories, and the bytes of the marks.

        It is None if it has nothing else.
        """
        if key in self.histories:
            return self.histories.take(key, batch), 0
        return self._mark_receiver.take(key, batch)

    def buffer(self, subtopology: SubTopology) -> InputBuffer:
        """Return an empty buffer for the inputs."""
        arrived = self._mark_receiver.arrived()
        in_order = bool(arrived) and any(node.in_order for node in subtopology.nodes)
        buffer = OrderedBuffer(self._inputs, arrived) if in_order else InputBuffer(self._inputs)
        for key in filter(self.histories.awaits, self._inputs):
            buffer.await_input(key, True)
        return buffer

    def behind(self) -> Iterator[tuple[int, int, int]]:
        """Return the tasks that write the inputs and have more to read.

        Each with its sub-topology, number and time.
        """
        for marks in self._mark_receiver.arrived().values():
            yield from marks.behind()

    def stretches(
        self, key: TopicPartition, records: list[Any], until: int, now: int
    ) -> Iterator[tuple[list[Any], int | None, int]]:
        """Cut the records of a run where the time advances.

        The run ends before the offset `until`. Each stretch comes with the watermark to give the steps after it, if
        any, and the offset that caused it.
        """
        watermarks = self._watermarks
        if watermarks is None:
            for _ in self._mark_receiver.due(key, records, until):
                pass
            yield records, None, -1
            return
        begin = 0
        for end, offset in self._mark_receiver.due(key, records, until):
            time = watermarks.after_marks(key, now)
            if time is not None:
                yield records[begin:end], time, offset
                begin = end
        if begin < len(records):
            for stretch, time in watermarks.cut(key, records[begin:] if begin else records, now):
                yield stretch, time, stretch[-1].offset

    def quiet(self, now: int, at_end: Callable[[TopicPartition], bool]) -> int | None:
        """Return the watermark to give the steps because inputs are idle, if it advances."""
        return None if self._watermarks is None else self._watermarks.quiet(now, at_end)

    def settled(self) -> int | None:
        """Return the watermark to give the steps, if they are behind it."""
        return None if self._watermarks is None else self._watermarks.settled()

    @property
    def now(self) -> int | None:
        """The time, None for a task without watermarks."""
        return None if self._watermarks is None else self._watermarks.time

    def seen(self) -> dict[TopicPartition, InputProgress]:
        """Return the progress of the inputs that have watermarks or carry marks."""
        seen = {} if self._watermarks is None else self._watermarks.seen()
        for key, marks in self._mark_receiver.processed().items():
            seen[key] = seen.get(key, NOTHING)._replace(marks=str(marks))
        return seen

    def own(self, graph: OperatorGraph, stream_time: int) -> int:
        """Return the least time that the task would report; -1 if it is not known or not reported."""
        times = (
            stream_time if topic.grain is None else graph.time_of(node)
            for node, topic in self._mark_emitter.topics.items()
        )
        return min(times, default=-1)

    # Outgoing

    def emit_marks(
        self,
        graph: OperatorGraph,
        stream_time: int,
        now: int,
        at_end: Callable[[TopicPartition], bool],
        *,
        at_once: bool = False,
    ) -> list[Outgoing]:
        """Return the marks that are due."""
        marks: list[Outgoing] = []
        live = self._state(now, at_end) if self._mark_emitter.topics else ProducerState.BEHIND
        for node, topic in self._mark_emitter.topics.items():
            if topic.grain is None:
                time, state = graph.not_beyond_waiting(stream_time), live
            else:
                time, state = graph.time_of(node), live
                if self._idle(graph, time):
                    state = ProducerState.IDLE
            marks += self._mark_emitter.marks(node, time, state, now, at_once=at_once)
        return marks

    @property
    def begun(self) -> bool:
        """True if the task has emitted its first marks where it must."""
        return self._mark_emitter.begun

    def _idle(self, graph: OperatorGraph, time: int) -> bool:
        """Return whether inputs are idle and all their records have been sent on.

        Readers have nothing to wait for then.
        """
        watermarks = self._watermarks
        return watermarks is None or (watermarks.idle and not graph.held and time >= watermarks.newest)

    def _state(self, now: int, at_end: Callable[[TopicPartition], bool]) -> ProducerState:
        arrived = self._mark_receiver.arrived()
        if all(at_end(key) and (key not in arrived or arrived[key].live) for key in self._inputs):
            self._live_until = now + LIVE_MS
        return ProducerState.LIVE if 0 <= self._live_until - now <= LIVE_MS else ProducerState.BEHIND
