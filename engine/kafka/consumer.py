"""Reads the input partitions the process owns.

The group is not librdkafka's business here: partitions are assigned by hand, from offsets the engine knows, and nothing
is committed by this client. Records come out as columns of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ...operators.record import Batch, Headers
from ..errors import Fatal, Retryable
from ..threads import Thread
from .errors import OffsetGone, asking, explain, translate

__all__ = ["InputConsumer", "Polled", "batch_of"]

Key = tuple[str, int]
EOF = KafkaError._PARTITION_EOF
RESET = KafkaError._AUTO_OFFSET_RESET
GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)
HOPELESS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class Polled(NamedTuple):
    """What one poll gave: batches in the order their partitions first came, and partitions read to their end."""

    batches: list[Batch]
    ends: dict[Key, int]
    """The end offsets that were met."""


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
        self._paused: set[Key] = set()
        self.gone: set[str] = set()
        """Topics that the client does not find any more, since this was emptied."""

    @property
    def paused(self) -> frozenset[Key]:
        """The partitions that deliver nothing until they are resumed."""
        return frozenset(self._paused)

    def assign(self, offsets: Mapping[Key, int]) -> None:
        """Begins to read these partitions from these offsets, beside what is read already."""
        if offsets:
            partitions = [TopicPartition(*key, offset) for key, offset in offsets.items()]
            _ask("read", self._consumer.incremental_assign, partitions)

    def unassign(self, keys: Iterable[Key]) -> None:
        """Stops reading these partitions; what was fetched for them is dropped.

        librdkafka keeps a partition paused through unassign and assign, so every one is resumed first, whatever is
        believed of it: a partition that is assigned again is always read.
        """
        partitions = [TopicPartition(*key) for key in keys]
        if partitions:
            self.resume([(one.topic, one.partition) for one in partitions])
            _ask("stop reading", self._consumer.incremental_unassign, partitions)

    def rewind(self, offsets: Mapping[Key, int]) -> None:
        """Reads these partitions again from these offsets, paused or not."""
        self.unassign(offsets)
        self.assign(offsets)

    def replace(self, offsets: Mapping[Key, int]) -> None:
        """Goes on with a new client, which reads these partitions from these offsets, none of them paused.

        The old one is closed beside the main thread, since it may be one that hangs.
        """
        old, self._consumer = self._consumer, Consumer(self._options)
        self._paused.clear()
        Thread("tidemill-close", old.close).start()
        self.assign(offsets)

    def pause(self, keys: Collection[Key]) -> None:
        """Delivers nothing more of these partitions for now."""
        if keys:
            _ask("pause", self._consumer.pause, [TopicPartition(*key) for key in keys])
            self._paused.update(keys)

    def resume(self, keys: Collection[Key]) -> None:
        """Delivers them again."""
        if keys:
            _ask("resume", self._consumer.resume, [TopicPartition(*key) for key in keys])
            self._paused.difference_update(keys)

    def end(self, key: Key) -> int:
        """The end offset last heard of, without asking anybody; -1 when not known yet."""
        with asking(f"look at the end of topic {key[0]!r}, partition {key[1]}"):
            return self._consumer.get_watermark_offsets(TopicPartition(*key), cached=True)[1]

    def poll(self, limit: int, timeout: float) -> Polled:
        """Takes what is there, up to `limit` records; waits up to `timeout` seconds only when there is nothing."""
        try:
            messages = self._consumer.consume(limit, 0)
            if not messages and timeout > 0:
                messages = self._consumer.consume(1, timeout)
                if messages:
                    messages += self._consumer.consume(limit, 0)
        except KafkaException as failure:
            raise translate(failure, "read the input topics") from failure
        groups: dict[Key, list[Message]] = {}
        ends: dict[Key, int] = {}
        current: list[Message] = []
        last: Key | None = None
        for message in messages:
            if message.error() is not None:
                self._event(message, ends)
                continue
            key: Key = (message.topic(), message.partition())  # pyright: ignore[reportAssignmentType]
            if key != last:
                current = groups.setdefault(key, [])
                last = key
            current.append(message)
        return Polled([batch_of(key, group) for key, group in groups.items()], ends)

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close()

    def _event(self, message: Message, ends: dict[Key, int]) -> None:
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
                "go on from what is there, stop all instances and run `tidemill reset`, or set the offset yourself",
                str(message.topic()),
            )
        elif code in GONE:
            self.gone.add(str(message.topic()))
        elif code in HOPELESS:
            raise Fatal(f"{place} may not be read: {explain(error)}")
        elif error.fatal():
            raise Retryable(f"{place}: {explain(error)}")


def _ask(what: str, call: Callable[[list[TopicPartition]], None], partitions: list[TopicPartition]) -> None:
    """Has the client do what it does without a broker: what it refuses once it would refuse again."""
    try:
        call(partitions)
    except KafkaException as failure:
        places = ", ".join(f"topic {one.topic!r}, partition {one.partition}" for one in partitions)
        raise Fatal(f"could not {what} {places}: {failure}") from failure


def batch_of(key: Key, messages: list[Message]) -> Batch:
    """Consecutive messages of one partition, in columns."""
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
