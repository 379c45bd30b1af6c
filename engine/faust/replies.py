"""Receives the replies to `ask`, `map` and `join`.

Replies arrive in a topic of this process alone, which is no input of the engine. Faust's bookkeeping of who waits for
which reply is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..clock import SYSTEM
from .tasks import library

__all__ = ["TaskReplies"]

Read = Callable[[str, Callable[["bytes | None", "bytes | None", Any], None]], None]


class TaskReplies(library.ReplyConsumer):
    """The replies for this process."""

    def __init__(self, app: Any, read: Read, **kwargs: Any) -> None:
        """Create it; `read` begins to read a topic in another thread."""
        library.ReplyConsumer.__init__(self, app, **kwargs)
        self._read = read

    async def _start_fetcher(self, topic_name: str) -> None:
        if topic_name in self._fetchers:
            return
        self._fetchers[topic_name] = None
        topic: Any = self._reply_topic(topic_name)
        await topic.maybe_declare()
        loop = asyncio.get_running_loop()

        def received(key: bytes | None, value: bytes | None, headers: Any) -> None:
            asyncio.run_coroutine_threadsafe(self._received(topic, key, value, headers), loop)

        self._read(topic_name, received)

    async def _received(self, topic: Any, key: bytes | None, value: bytes | None, headers: Any) -> None:
        message = library.Message(topic.get_topic_name(), 0, -1, SYSTEM.now() / 1000, 0, headers, key, value, None)
        event = await topic.decode(message)
        if event is None:
            return
        reply: Any = event.value
        for promise in list(self._waiting[reply.correlation_id]):
            if not promise.done():
                promise.fulfill(reply.correlation_id, library.maybe_model(reply.value))
