"""Reads the input partitions that the process owns.

librdkafka does not join the group: partitions are assigned manually, from offsets that the engine knows, and this
client commits nothing. Records are returned as columns of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from ...operators.record import Batch, Headers
from ...state.topic_partition import TopicPartition
from ..errors import Fatal, Retryable
from ..threads import Thread
from .errors import OffsetGone, asking, explain, translate

__all__ = ["InputConsumer", "Polled", "batch_of"]

EOF = KafkaError._PARTITION_EOF
RESET = KafkaError._AUTO_OFFSET_RESET
GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)
DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class Polled(NamedTuple):
    """The result of a poll: batches in order of arrival, and partitions read to their end."""

    batches: list[Batch]
    ends: dict[TopicPartition, int]
    """The end offsets that were reached."""


class InputConsumer:
    """A librdkafka consumer with manual assignment."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {
            **options,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        self._consumer = Consumer(self._options)
        self._paused: set[TopicPartition] = set()
        self.gone: set[str] = set()
        """Topics that the client no longer finds; the caller clears the set."""

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The partitions that deliver nothing until they are resumed."""
        return frozenset(self._paused)

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Start reading these partitions from these offsets, in addition to the others."""
        if offsets:
            partitions = [KafkaPartition(*key, offset) for key, offset in offsets.items()]
            _ask("read", self._consumer.incremental_assign, partitions)

    def unassign(self, keys: Iterable[TopicPartition]) -> None:
        """Stop reading these partitions, and drop what was fetched for them.

        librdkafka keeps a partition paused through unassign and assign, so each is resumed first, even if it is not in
        `paused`: a partition that is assigned again is always read.
        """
        partitions = [KafkaPartition(*key) for key in keys]
        if partitions:
            self.resume([(one.topic, one.partition) for one in partitions])
            _ask("stop reading", self._consumer.incremental_unassign, partitions)

    def rewind(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions again from these offsets, paused or not."""
        self.unassign(offsets)
        self.assign(offsets)

    def replace(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Continue with a new client, which reads these partitions from these offsets.

        None of them is paused. The old client is closed in another thread, since it may hang.
        """
        old, self._consumer = self._consumer, Consumer(self._options)
        self._paused.clear()
        Thread("tidemill-close", old.close).start()
        self.assign(offsets)

    def pause(self, keys: Collection[TopicPartition]) -> None:
        """Stop delivering these partitions until they are resumed."""
        if keys:
            _ask("pause", self._consumer.pause, [KafkaPartition(*key) for key in keys])
            self._paused.update(keys)

    def resume(self, keys: Collection[TopicPartition]) -> None:
        """Deliver these partitions again."""
        if keys:
            _ask("resume", self._consumer.resume, [KafkaPartition(*key) for key in keys])
            self._paused.difference_update(keys)

    def end(self, key: TopicPartition) -> int:
        """Return the last known end offset, without a request; -1 if it is not known yet."""
        with asking(f"look at the end of topic {key[0]!r}, partition {key[1]}"):
            return self._consumer.get_watermark_offsets(KafkaPartition(*key), cached=True)[1]

    def poll(self, limit: int, timeout: float) -> Polled:
        """Return up to `limit` records that have arrived; wait up to `timeout` seconds if none have."""
        try:
            messages = self._consumer.consume(limit, 0)
            if not messages and timeout > 0:
                messages = self._consumer.consume(1, timeout)
                if messages:
                    messages += self._consumer.consume(limit, 0)
        except KafkaException as failure:
            raise translate(failure, "read the input topics") from failure
        groups: dict[TopicPartition, list[Message]] = {}
        ends: dict[TopicPartition, int] = {}
        current: list[Message] = []
        last: TopicPartition | None = None
        for message in messages:
            if message.error() is not None:
                self._event(message, ends)
                continue
            key: TopicPartition = (message.topic(), message.partition())  # pyright: ignore[reportAssignmentType]
            if key != last:
                current = groups.setdefault(key, [])
                last = key
            current.append(message)
        return Polled([batch_of(key, group) for key, group in groups.items()], ends)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _event(self, message: Message, ends: dict[TopicPartition, int]) -> None:
        error = message.error()
        assert error is not None
        code = error.code()
        place = f"topic {message.topic()!r}, partition {message.partition()}"
        if code == EOF:
            ends[message.topic(), message.partition()] = message.offset()  # pyright: ignore[reportArgumentType]
        elif code == RESET:
            raise OffsetGone(
                f"{place}: offset {message.offset()} is not in the topic any more ({error.str()}). Its records were "
                "deleted before this application read them, or the topic was created again. Nothing was skipped: to "
                "continue with the existing records, stop all instances and run `tidemill reset`, or set the offset "
                "yourself",
                str(message.topic()),
            )
        elif code in GONE:
            self.gone.add(str(message.topic()))
        elif code in DENIED:
            raise Fatal(f"this user is not allowed to read {place}: {explain(error)}")
        elif error.fatal():
            raise Retryable(f"{place}: {explain(error)}")


def _ask(what: str, call: Callable[[list[KafkaPartition]], None], partitions: list[KafkaPartition]) -> None:
    """Call the client for work that it does without a broker, so that a refusal is final."""
    try:
        call(partitions)
    except KafkaException as failure:
        places = ", ".join(f"topic {one.topic!r}, partition {one.partition}" for one in partitions)
        raise Fatal(f"could not {what} {places}: {failure}") from failure


def batch_of(key: TopicPartition, messages: list[Message]) -> Batch:
    """Return consecutive messages of one partition as a batch of columns."""
    keys = [message.key() for message in messages]
    values = [message.value() for message in messages]
    headers: list[Headers] | None = None
    raw = [message.headers() for message in messages]
    if any(raw):
        headers = [tuple(pairs) if pairs else () for pairs in raw]  # pyright: ignore[reportAssignmentType]
    size = sum([len(value) for value in values if value is not None])
    size += sum([len(part) for part in keys if part is not None])
    if headers is not None:
        size += sum([len(name) + len(content or b"") for pairs in headers for name, content in pairs])
    return Batch(
        key[0],
        key[1],
        keys,
        values,
        [message.timestamp()[1] for message in messages],
        [message.offset() for message in messages],  # pyright: ignore[reportArgumentType]
        headers,
        size,
    )
