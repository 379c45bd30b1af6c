"""Streams that give events to agents, and notice when these have been processed.

Iteration is Faust's own, with three differences. An event is begun and acknowledged as `work.py` describes. The gate
is asked before an event is given to the agent. And the event loop gets its turn every few milliseconds, not once per
event.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from inspect import isawaitable
from time import monotonic
from typing import Any, Final, TypeAlias

from .stream_queue import StreamQueue
from .tasks import library
from .tasks.work import EventMessage, batch_message

__all__ = ["TaskStream"]

Batch: TypeAlias = list[tuple[Any, Any]]
"""Values with their events."""

TURN_SECONDS: Final = 0.002
"""How long a stream gives events to an agent that does not wait, until the event loop has its turn."""


class TaskStream(library.Stream):
    """A stream whose events belong to tasks of the engine."""

    events_total: int

    def __aiter__(self) -> AsyncIterator[Any]:
        iterator = self._iterate()
        self._active_agens.add(iterator)
        return iterator

    async def _iterate(self) -> AsyncIterator[Any]:
        self._finalized = True
        started_here = await self.maybe_start()
        channel: Any = self.channel
        queue: Any = channel.queue if isinstance(channel, library.ChannelT) else None
        if isinstance(queue, StreamQueue):
            queue.streamed = True
        sensors: Any = self.app.sensors if self.app.tidemill.sensors else None
        processors: list[Any] = self._processors
        skipped: Any = self._skipped_value
        joined = self.join_strategy is not None
        set_current, reference = library.current_event_variable.set, weakref.ref
        turn = monotonic() + TURN_SECONDS
        try:
            while not self.should_stop:
                acks: bool = self.enable_acks
                if monotonic() > turn:
                    await asyncio.sleep(0)
                    turn = monotonic() + TURN_SECONDS
                item = await self._next_item(queue, channel)
                event: Any = None
                message: Any = None
                state: Any = None
                if isinstance(item, library.EventT):
                    event = item
                    message = event.message
                    if message.__class__ is EventMessage and not await self._begin(message):
                        continue
                    set_current(reference(event))
                    self.current_event = event
                    value: Any = event.value
                    if sensors is not None:
                        state = sensors.on_stream_event_in(message.tp, message.offset, self, event)
                else:
                    set_current(None)
                    self.current_event = None
                    value = item
                try:
                    for processor in processors:
                        value = processor(value)
                        if isawaitable(value):
                            value = await value
                    if joined:
                        value = await self.on_merge(value)
                except library.Skip:
                    value = skipped
                except BaseException:
                    if message.__class__ is EventMessage:
                        event.ack()
                    raise
                if value is None and event is None:
                    continue
                try:
                    if value is not skipped:
                        self.events_total += 1
                        yield value
                finally:
                    self.current_event = None
                    if event is not None:
                        if acks or value is skipped:
                            event.ack()
                        elif message.__class__ is EventMessage:
                            message.park()
                        if sensors is not None:
                            sensors.on_stream_event_out(message.tp, message.offset, self, event, state)
        except StopAsyncIteration:
            return
        finally:
            self._channel_stop_iteration(channel)
            if started_here:
                await self.stop()
                self.service_reset()

    async def _next_item(self, queue: Any, channel: Any) -> Any:
        if queue is None:
            return await channel.__anext__()
        if queue._errors:
            raise queue._errors.popleft()
        return await queue.get() if queue.empty() else queue.get_nowait()

    async def _begin(self, message: EventMessage) -> bool:
        """Begin an event when the gate is open; return whether the task still has it."""
        work = message.work
        if work.gate.shut and not message.made:
            await work.gate.passed()
        if work.closed:
            message.ack(None)
            return False
        message.begin()
        return True

    async def ack(self, event: Any) -> bool:
        return event.ack()

    # Many events at a time

    def take(self, max_: int, within: Any) -> AsyncIterator[Any]:
        """Yield lists of at most `max_` values, each at most `within` seconds after the one before."""
        return self._kept(self._batches(max_, within, values_of))

    def take_events(self, max_: int, within: Any) -> AsyncIterator[Any]:
        """Yield lists of events, as `take` yields values."""
        return self._kept(self._batches(max_, within, events_of))

    def take_with_timestamp(self, max_: int, within: Any, timestamp_field_name: str) -> AsyncIterator[Any]:
        """Yield lists of values with the time of their message in one of their fields."""

        def stamped(batch: Batch) -> list[Any]:
            for value, event in batch:
                if isinstance(value, dict) and timestamp_field_name:
                    value[timestamp_field_name] = event.message.timestamp
            return values_of(batch)

        return self._kept(self._batches(max_, within, stamped))

    def noack_take(self, max_: int, within: Any) -> AsyncIterator[Any]:
        """Yield lists of events that the agent acknowledges itself."""
        return self._kept(self._batches(max_, within, events_of, acks=False))

    def _kept(self, generator: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Return a generator that is closed when the stream stops, if its agent has left it before."""
        self._active_agens.add(generator)
        return generator

    async def _batches(
        self, max_: int, within: Any, shown: Callable[[Batch], list[Any]], *, acks: bool = True
    ) -> AsyncIterator[list[Any]]:
        seconds: float | None = library.want_seconds(within) if within else None
        collected: Batch = []
        full, room = asyncio.Event(), asyncio.Event()
        room.set()

        async def collect(value: Any) -> Any:
            event: Any = self.current_event
            if event is None:
                raise RuntimeError("only events can be taken many at a time")
            if not room.is_set() and event.message.__class__ is EventMessage:
                event.message.park()  # a commit does not wait for it
            await room.wait()
            collected.append((value, event))
            if len(collected) >= max_:
                room.clear()
                full.set()
            return value

        before: bool = self.enable_acks
        self.enable_acks = False
        self.add_processor(collect)
        self._enable_passive(aiter_of(self.channel))
        try:
            while not self.should_stop:
                await self.wait_for_stopped(full, timeout=seconds)
                if not collected:
                    continue
                room.clear()
                batch = await self._still_ours(list(collected))
                collected.clear()
                try:
                    if batch:
                        last: Any = batch[-1][1]
                        self.current_event = last
                        batch_message.set(last.message if last.message.__class__ is EventMessage else None)
                        yield shown(batch)
                finally:
                    batch_message.set(None)
                    for _, event in batch:
                        if acks:
                            event.ack()
                        elif event.message.__class__ is EventMessage:
                            event.message.park()
                    full.clear()
                    room.set()
        finally:
            self.enable_acks = before
            processors: list[Any] = self._processors
            processors.remove(collect)

    async def _still_ours(self, batch: Batch) -> Batch:
        """Begin the collected events; return those whose tasks are still here."""
        if not any(event.message.__class__ is EventMessage and event.message.made for _, event in batch):
            await self.app.tidemill.gate.passed()  # not for what another event waits for, which the gate waits for
        return [
            (value, event)
            for value, event in batch
            if event.message.__class__ is not EventMessage or await self._begin(event.message)
        ]


def aiter_of(channel: Any) -> Any:
    """Return the iterator of a channel."""
    return channel.__aiter__()


def values_of(batch: Batch) -> list[Any]:
    """Return the values."""
    return [value for value, _ in batch]


def events_of(batch: Batch) -> list[Any]:
    """Return the events."""
    return [event for _, event in batch]
