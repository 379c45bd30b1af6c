"""Gives records to the streams that read their topic.

Faust's conductor keeps the list of streams and tells which topics they read; records come from the engine instead of a
consumer of Faust. Streams of one topic are numbered in the order in which they began to read it, which is the same in
each process: by this number an event that waits for one of them is kept in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .tasks import library
from .tasks.harvest import Delivery, StoredEvent
from .tasks.work import EventMessage, TaskWork

__all__ = ["TaskConductor"]

LOG: Final = logging.getLogger("tidemill.faust")
TURN_SECONDS: Final = 0.002


class TaskConductor(library.Conductor):
    """The streams of an application by topic."""

    _resubscribe_sleep_lock_seconds = 0.5

    def __init__(self, app: Any, subscribed: Callable[[frozenset[str]], None], **kwargs: Any) -> None:
        """Create it; `subscribed` is called with all topics that are read, whenever these change."""
        library.Conductor.__init__(self, app, **kwargs)
        self._subscribed = subscribed
        self._streams: dict[str, list[list[Any]]] = {}
        """The streams of each topic by number; those of an agent for single partitions have one number together."""
        self._agents: dict[tuple[str, str], list[Any]] = {}
        """The streams of agents for single partitions, by topic and agent."""
        self._adding = ""
        """The agent whose stream for single partitions is being made."""
        self._queue: deque[tuple[TaskWork, Delivery | StoredEvent, int]] = deque()
        self._delivering: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, topic: Any) -> None:
        """Add a stream that reads topics."""
        if topic in self._topics:
            return
        library.Conductor.add(self, topic)
        for name in topic.topics:
            streams = self._streams.setdefault(name, [])
            if not self._adding:
                streams.append([topic])
            elif (name, self._adding) in self._agents:
                self._agents[name, self._adding].append(topic)
            else:
                self._agents[name, self._adding] = [topic]
                streams.append(self._agents[name, self._adding])

    def isolated(self, agent: str, stream: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return a stream of an agent for single partitions, which `stream` makes."""
        self._adding = agent
        try:
            return stream(*arguments, **options)
        finally:
            self._adding = ""

    def discard(self, topic: Any) -> None:
        """Remove a stream."""
        library.Conductor.discard(self, topic)
        for streams in self._streams.values():
            for one in streams:
                if topic in one:
                    one.remove(topic)

    def subscribed(self, topics: Any) -> None:
        """Tell which topics are read."""
        self._subscribed(frozenset(topics))

    def deliver(self, work: TaskWork, delivery: Delivery) -> None:
        """Give records to their streams, after those of earlier calls."""
        self._enqueue(work, delivery, -1)

    def deliver_stored(self, work: TaskWork, number: int, event: StoredEvent) -> None:
        """Give an event of the store to the stream that has it still to process."""
        self._enqueue(work, event, number)

    def widest(self, count: Callable[[str], int]) -> Any:
        """Return the topic that has most partitions; of several, the first by name."""
        name = min(self._streams, key=lambda name: (-count(name), name))
        return next(topic for one in self._streams[name] for topic in one)

    async def idle(self) -> None:
        """Wait until all records have been given to their streams."""
        await self._idle.wait()

    def _enqueue(self, work: TaskWork, item: Delivery | StoredEvent, number: int) -> None:
        self._queue.append((work, item, number))
        work.due += 1
        self._idle.clear()
        if self._delivering is None or self._delivering.done():
            self._delivering = asyncio.get_running_loop().create_task(self._deliver_all())
            self._delivering.add_done_callback(self._check)

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.app.tidemill.failed(failure)

    async def _deliver_all(self) -> None:
        while self._queue:
            work, item, number = self._queue.popleft()
            if work.closed:
                continue
            if isinstance(item, Delivery):
                await self._records(work, item)
            else:
                await self._stored(work, item, number)
            work.arrived()
        self._idle.set()

    async def _records(self, work: TaskWork, delivery: Delivery) -> None:
        tp: Any = library.TP(delivery.topic, delivery.partition)
        streams = [
            (number, stream)
            for number, one in enumerate(self._streams.get(delivery.topic, ()))
            for stream in one
            if stream.active_partitions is None or tp in stream.active_partitions
        ]
        turn = monotonic() + TURN_SECONDS
        columns = (delivery.offsets, delivery.timestamps, delivery.keys, delivery.values, delivery.headers)
        for offset, timestamp, key, value, headers in zip(*columns, strict=True):
            given = list(headers) if headers else None
            same: Any = None
            for number, stream in streams:
                message = EventMessage(work, number, tp, offset, timestamp, key, value, given)
                event = await self._decoded(stream, message, same)
                if event is None:
                    continue
                same = same or (stream, event)
                stream.queue.force_put_nowait(event)
            if monotonic() > turn:
                await asyncio.sleep(0)
                turn = monotonic() + TURN_SECONDS

    async def _stored(self, work: TaskWork, kept: StoredEvent, number: int) -> None:
        tp: Any = library.TP(kept.topic, kept.partition)
        numbered = self._streams.get(kept.topic, ())
        streams = [
            stream
            for stream in (numbered[kept.channel] if kept.channel < len(numbered) else ())
            if stream.active_partitions is None or tp in stream.active_partitions
        ]
        if not streams:
            LOG.warning(
                "an event of topic %r, partition %d, offset %d waits for a stream that the application no longer has: "
                "it is dropped",
                kept.topic,
                kept.partition,
                kept.offset,
            )
            work.finished.append(number)
            return
        given = list(kept.headers) or None
        message = EventMessage(work, kept.channel, tp, kept.offset, kept.timestamp, kept.key, kept.value, given)
        del work.unfinished[message.number]
        message.number = number
        work.unfinished[number] = message
        work.stored.add(number)
        event = await self._decoded(streams[0], message, None)
        if event is not None:
            streams[0].queue.force_put_nowait(event)

    async def _decoded(self, stream: Any, message: EventMessage, same: Any) -> Any:
        """Return the event of a message; None if it cannot be decoded, and its stream raises that."""
        if same is not None and (same[0].key_type, same[0].value_type) == (stream.key_type, stream.value_type):
            event: Any = same[1]
            return self.app.create_event(event.key, event.value, message.headers, message)
        try:
            return await stream.decode(message, propagate=True)
        except library.KeyDecodeError as failure:
            message.ack(None)
            await stream.on_key_decode_error(failure, message)
        except library.ValueDecodeError as failure:
            message.ack(None)
            await stream.on_value_decode_error(failure, message)
        return None
