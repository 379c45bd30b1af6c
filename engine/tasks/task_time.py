"""What time it is in a task: from its inputs to its steps, and on to the tasks that read what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...operators.record import Batch, Outgoing
from ..plan.plan import SubTopology
from ..watermarks.emitter import Telling, Topic
from ..watermarks.inputs import Incoming
from ..watermarks.records import State
from ..watermarks.watermarks import NOTHING, Seen, Watermarks
from .buffer import InputBuffer
from .operator_graph import Graph
from .ordered_buffer import OrderedBuffer

__all__ = ["TaskTime"]

Key = tuple[str, int]
LIVE_MS = 2_000
"""A task that was at the end of its inputs so lately has no backlog."""


class TaskTime:
    """The time of one task."""

    def __init__(self, part: SubTopology, number: int, keys: tuple[Key, ...], seen: Mapping[Key, Seen]) -> None:
        """`keys` are the inputs; `seen` is what was seen of the inputs up to where they are read from."""
        nodes = dict(part.inputs)
        self._inputs = keys
        self._incoming = Incoming(part.marking.producers, keys, seen)
        inputs = {
            (topic, at): mark
            for topic, at in self._inputs
            if (mark := nodes[topic].watermark) is not None and topic not in part.marking.silent
        }
        self._watermarks = Watermarks(inputs, seen, self._incoming.processed()) if inputs else None
        topics = {
            node: Topic(part.writes[node], partitions, None if mark is None else mark.grain)
            for node, partitions in part.marking.tells.items()
            for mark in (next(each.watermark for each in part.nodes if each.id == node),)
        }
        self._telling = Telling(part.told_as, number, part.partitions, topics)
        self._live_until = -1

    def resume(self, graph: Graph) -> None:
        """Lets steps that have just been built know what their predecessors were told."""
        if self._watermarks is not None and self._watermarks.resumed >= 0:
            graph.resume(self._watermarks.resumed)

    # What comes in

    def take(self, key: Key, batch: Batch) -> tuple[Batch | None, int]:
        """A batch without the marks in it, None when nothing else is, and the bytes that the marks count as."""
        return self._incoming.take(key, batch)

    def buffer(self, part: SubTopology) -> InputBuffer:
        """An empty buffer for the inputs."""
        arrived = self._incoming.arrived()
        in_order = bool(arrived) and any(node.in_order for node in part.nodes)
        return OrderedBuffer(self._inputs, arrived) if in_order else InputBuffer(self._inputs)

    def told(self) -> Iterator[tuple[int, int, int]]:
        """Of the tasks that write the inputs and have more to read: their sub-topology, number, and time."""
        for told in self._incoming.arrived().values():
            yield from told.behind()

    def stretches(
        self, key: Key, records: list[Any], until: int, now: int
    ) -> Iterator[tuple[list[Any], int | None, int]]:
        """The records of a run that ends before the offset `until`, in stretches.

        Each with the time that the steps are to be told after it, if any, and the offset that brought it.
        """
        watermarks = self._watermarks
        if watermarks is None:
            for _ in self._incoming.due(key, records, until):
                pass
            yield records, None, -1
            return
        begin = 0
        for end, offset in self._incoming.due(key, records, until):
            time = watermarks.told(key, now)
            if time is not None:
                yield records[begin:end], time, offset
                begin = end
        if begin < len(records):
            for stretch, time in watermarks.cut(key, records[begin:] if begin else records, now):
                yield stretch, time, stretch[-1].offset

    def quiet(self, now: int, at_end: Callable[[Key], bool]) -> int | None:
        """The time to tell the steps because inputs are quiet, if it goes on."""
        return None if self._watermarks is None else self._watermarks.quiet(now, at_end)

    @property
    def now(self) -> int | None:
        """What time it is, None for a task that does not go by watermarks."""
        return None if self._watermarks is None else self._watermarks.time

    def seen(self) -> dict[Key, Seen]:
        """What was seen of the inputs, for those that go by watermarks or carry marks."""
        seen = {} if self._watermarks is None else self._watermarks.seen()
        for key, told in self._incoming.processed().items():
            seen[key] = seen.get(key, NOTHING)._replace(told=str(told))
        return seen

    def own(self, graph: Graph, stream_time: int) -> int:
        """The least that it would tell of its time; -1 when that is not known, or it tells nobody."""
        times = (
            stream_time if topic.grain is None else graph.time_of(node) for node, topic in self._telling.topics.items()
        )
        return min(times, default=-1)

    # What is told

    def tell(
        self, graph: Graph, stream_time: int, now: int, at_end: Callable[[Key], bool], *, at_once: bool = False
    ) -> list[Outgoing]:
        """The marks that are due."""
        told: list[Outgoing] = []
        live = self._state(now, at_end) if self._telling.topics else State.BEHIND
        for node, topic in self._telling.topics.items():
            if topic.grain is None:
                time, state = graph.not_beyond_waiting(stream_time), live
            else:
                time, state = graph.time_of(node), live
                if self._idle(graph, time):
                    state = State.IDLE
            told += self._telling.marks(node, time, state, now, at_once=at_once)
        return told

    @property
    def begun(self) -> bool:
        """Whether the task has told of itself where it has to."""
        return self._telling.begun

    def _idle(self, graph: Graph, time: int) -> bool:
        """Whether nothing comes that others would wait for: inputs are idle, and all they brought has been sent on."""
        watermarks = self._watermarks
        return watermarks is None or (watermarks.idle and not graph.held and time >= watermarks.newest)

    def _state(self, now: int, at_end: Callable[[Key], bool]) -> State:
        arrived = self._incoming.arrived()
        if all(at_end(key) and (key not in arrived or arrived[key].live) for key in self._inputs):
            self._live_until = now + LIVE_MS
        return State.LIVE if 0 <= self._live_until - now <= LIVE_MS else State.BEHIND
