"""The queue of a stream."""

from __future__ import annotations

from typing import Any

from .tasks import library
from .tasks.work import EventMessage, current_message

__all__ = ["StreamQueue"]


class StreamQueue(library.ThrowableQueue):
    """The queue from which a stream, or another reader of a channel, takes events.

    An event that an agent sends to a channel in memory while it processes another one belongs to that: if a stream
    reads the channel, the commit that has the one waits for the other.
    """

    streamed = False
    """Whether a stream reads it."""

    async def put(self, value: Any) -> None:
        if self.streamed and isinstance(value, library.EventT):
            message: Any = value.message
            cause = current_message()
            if cause is not None and message.__class__ is not EventMessage:
                value = self._caused(value, message, cause)
        await library.ThrowableQueue.put(self, value)

    def _caused(self, event: Any, message: Any, cause: EventMessage) -> Any:
        at = round(message.timestamp * 1000)
        made = EventMessage(
            cause.work, 0, cause.tp, cause.offset, at, message.key, message.value, message.headers, made=True
        )
        return event.app.create_event(event.key, event.value, event.headers, made)
