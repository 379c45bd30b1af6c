"""The replacement of the Kafka clients of a Faust application.

Records come from the engine, so the consumer only answers queries. Messages that an agent sends while it processes an
event are part of the transaction of that event. All others are sent immediately: those of timers, tasks and web pages,
and replies to `ask`, whose callers wait for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from ..clock import SYSTEM
from .requests import takes_replies
from .tasks import library
from .tasks.harvest import Sent
from .tasks.work import current_message

__all__ = ["Sender", "TaskConsumer", "TaskProducer", "TaskTransport"]

LOG: Final = logging.getLogger("tidemill.faust")


class Sender(Protocol):
    """Sends records without a transaction, and answers questions about topics."""

    def send(self, topic: str, row: Any, done: Callable[[int, int, Exception | None], None]) -> None:
        """Send a record; `done` is called in another thread with its partition, offset and error."""
        ...

    def partition_of(self, topic: str, key: bytes | None) -> int:
        """Return the partition of a key; -1 without a key."""
        ...

    def count_of(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        ...

    def ensure(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str]) -> None:
        """Create a topic unless it exists."""
        ...

    def exists(self, topic: str) -> bool:
        """Return whether a topic exists."""
        ...


class TaskProducer(library.Producer):
    """The producer of an application."""

    def __init__(self, transport: Any, sender: Sender, **kwargs: Any) -> None:
        library.Producer.__init__(self, transport, **kwargs)
        self._sender = sender
        self._known: set[str] = set()

    async def on_start(self) -> None:
        """Do nothing: there is nothing to connect."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Any:
        """Send a record with the current event, or at once; return the future of its place."""
        if topic not in self._known:
            await self._ensure(topic)
        return self._send(topic, key, value, partition, timestamp, headers)

    def send_soon(self, fut: Any) -> None:
        """Send a message from code that cannot wait."""
        message: Any = fut.message
        topic = message.channel._topic_name_or_default(message.channel)
        if topic not in self._known:
            self._ensure_now(topic)
        sent = self._send(topic, message.key, message.value, message.partition, message.timestamp, message.headers)

        def done(done: Any) -> None:
            if done.exception() is not None:
                fut.set_exception(done.exception())
                return
            fut.set_result(done.result())
            if message.callback:
                message.callback(fut)

        sent.add_done_callback(done)

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Any:
        """Send a record and wait for its place."""
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    async def flush(self) -> None:
        """Do nothing: records are sent as they come."""

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication: int,
        *,
        config: Mapping[str, Any] | None = None,
        timeout: Any = 30.0,
        retention: Any = None,
        compacting: bool | None = None,
        deleting: bool | None = None,
        ensure_created: bool = False,
    ) -> None:
        """Create a topic unless it exists."""
        settings = {name: str(value) for name, value in (config or {}).items()}
        policies = [name for name, wanted in (("compact", compacting), ("delete", deleting)) if wanted]
        if policies:
            settings.setdefault("cleanup.policy", ",".join(policies))
        if retention:
            settings.setdefault("retention.ms", str(int(library.want_seconds(retention) * 1000)))
        await asyncio.get_running_loop().run_in_executor(
            None, self._sender.ensure, topic, partitions, replication, settings
        )
        self._known.add(topic)

    def key_partition(self, topic: str, key: bytes | None) -> Any:
        """Return topic and partition of a key."""
        return library.TP(topic, self._chosen(topic, key))

    def count(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        return self._sender.count_of(topic)

    def _chosen(self, topic: str, key: bytes | None) -> int:
        """Return the partition of a record without one; -1 for any."""
        choose: Any = self.app.conf.producer_partitioner
        if choose is None:
            return self._sender.partition_of(topic, key)
        every = list(range(self.count(topic)))
        return int(choose(key, every, every))

    def supports_headers(self) -> bool:
        return True

    async def _ensure(self, topic: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._ensure_now, topic)

    def _ensure_now(self, topic: str) -> None:
        """Create the topic if it does not exist, as brokers do for Faust's own producer."""
        conf: Any = self.app.conf
        if conf.topic_allow_declare and not self._sender.exists(topic):
            self._sender.ensure(topic, conf.topic_partitions, conf.topic_replication_factor or 1, {})
        self._known.add(topic)

    def _send(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int | None, timestamp: Any, headers: Any
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        at = round(timestamp * 1000) if timestamp else SYSTEM.now()
        pairs = headers_of(headers)
        if partition is None:
            partition = -1 if self.app.conf.producer_partitioner is None else self._chosen(topic, as_bytes(key))
        row = (as_bytes(key), as_bytes(value), at, pairs, partition)
        cause = current_message()
        if cause is not None and not takes_replies(self.app, topic):
            cause.work.sent.append(Sent(topic, row))
            answer.set_result(place_of(topic, row[4], -1, at))
            return answer

        self._sender.send(topic, row, reporter(loop, answer, topic, at))
        return answer


def reporter(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], topic: str, at: int
) -> Callable[[int, int, Exception | None], None]:
    """Return what a sender calls, in another thread, with the place of a record or the error."""

    def done(where: int, offset: int, failure: Exception | None) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile, and nothing waits for the answer
            loop.call_soon_threadsafe(settle, answer, topic, where, offset, at, failure)

    return done


def settle(answer: asyncio.Future[Any], topic: str, where: int, offset: int, at: int, failure: Any) -> None:
    """Set the result of a send."""
    if answer.done():
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(place_of(topic, where, offset, at))


def place_of(topic: str, partition: int, offset: int, at: int) -> Any:
    """Return the place of a record as Faust describes it."""
    return library.RecordMetadata(
        topic=topic,
        partition=partition,
        topic_partition=library.TP(topic, partition),
        offset=offset,
        timestamp=at / 1000,
        timestamp_type=0,
    )


def headers_of(headers: Any) -> list[tuple[str, bytes | None]] | None:
    """Return headers as pairs."""
    if not headers:
        return None
    pairs: Any = headers.items() if hasattr(headers, "items") else headers
    return [(str(name), as_bytes(value)) for name, value in pairs]


def as_bytes(value: Any) -> bytes | None:
    """Return a serialized key or value as bytes."""
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else bytes(value)


class TaskConsumer(library.Service):
    """The consumer of an application: it knows what the engine has assigned, and reads nothing."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        library.Service.__init__(self, **kwargs)
        self.app = app
        self.assigned: frozenset[Any] = frozenset()
        self.unacked: set[Any] = set()
        self.transactions: Any = None

    async def subscribe(self, topics: Any) -> None:
        """Tell the conductor which topics are read."""
        self.app.topics.subscribed(topics)

    def assignment(self) -> set[Any]:
        """Return the partitions that this process reads."""
        return set(self.assigned)

    def topic_partitions(self, topic: str) -> int | None:
        """Return nothing: the engine checks numbers of partitions."""

    def key_partition(self, topic: str, key: bytes, partition: int | None = None) -> int | None:
        """Return the partition of a key."""
        return self.app.producer.key_partition(topic, key).partition if partition is None else partition

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Do nothing: the engine commits."""
        return True

    async def wait_empty(self) -> None:
        """Do nothing: the engine has waited."""

    async def on_task_error(self, exc: BaseException) -> None:
        """Log the failure of an agent, which Faust's supervisor restarts."""
        LOG.error("an agent has failed and is restarted; its event counts as processed: %r", exc, exc_info=exc)

    def ack(self, message: Any) -> bool:
        """Do nothing: the message knows."""
        return True

    def stop_flow(self) -> None:
        """Do nothing."""

    def resume_flow(self) -> None:
        """Do nothing."""

    def pause_partitions(self, tps: Any) -> None:
        """Do nothing."""

    def resume_partitions(self, tps: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class TaskTransport(library.Transport):
    """The transport that gives an application these clients."""

    driver_version = "tidemill"

    def __init__(self, app: Any, sender: Sender) -> None:
        library.Transport.__init__(self, app.conf.broker, app)
        self._sender = sender

    def create_consumer(self, callback: Any, **kwargs: Any) -> Any:
        return TaskConsumer(self.app, loop=self.loop, beacon=kwargs.get("beacon"))

    def create_producer(self, **kwargs: Any) -> Any:
        return TaskProducer(self, self._sender, **kwargs)
