"""Administration of topics: existence, partition counts, begin and end offsets, settings.

Creates the application's internal topics and checks existing ones; deletes records that repartition topics no longer
need. Every call asks a broker and may raise Retryable.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,  # pyright: ignore[reportPrivateImportUsage]
    ConfigEntry,  # pyright: ignore[reportPrivateImportUsage]
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    NewTopic,  # pyright: ignore[reportPrivateImportUsage]
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)

from ...state.store import TOMBSTONES_KEPT_MS
from ...state.topic_partition import TopicPartition
from ..errors import Fatal, Retryable, TopologyError
from ..plan.plan import ANY_TIME, InternalTopic
from ..plan.topic_settings import bounds_of_time, misfits
from .errors import error_of, explain, translate

__all__ = ["TopicDescription", "Topics"]

LOG = logging.getLogger("tidemill.topics")
NO_SUCH_RECORD = -1
"""A broker's answer for a time after the last record."""
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""The client's topic id for a broker that has none: all zeros."""
T = TypeVar("T")
PAUSE_SECONDS = 0.1
REFUSED = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)


class TopicDescription(NamedTuple):
    """A topic as described by brokers."""

    id: str
    """Its id, which differs from that of a later topic with the same name; "" if brokers report none."""
    racks: tuple[str, ...]
    """The rack of each partition's leader, "" if unknown."""


class Topics:
    """An admin client for topics. `timeout` in seconds bounds each call."""

    def __init__(self, options: Mapping[str, Any], timeout: float = 15.0) -> None:
        self._heard: KafkaError | None = None
        """The last error outside a response, such as why the client cannot connect."""
        conf: dict[str, Any] = {**options, "error_cb": self._hear}
        self._admin: Any = AdminClient(conf)  # its stubs are incomplete
        self._timeout = timeout

    def partitions(self, timeout: float | None = None) -> dict[str, int]:
        """Return the partition counts of all topics.

        `timeout` in seconds replaces the usual one.
        """
        return {
            name: len(topic.partitions)
            for name, topic in self._listed(self._timeout if timeout is None else timeout).items()
            if topic.error is None or topic.error.code() == KafkaError.LEADER_NOT_AVAILABLE
        }

    def _listed(self, timeout: float) -> Mapping[str, Any]:
        try:
            return self._admin.list_topics(timeout=timeout).topics
        except KafkaException as failure:
            raise self._explained(failure) from failure

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # it says less than the errors before it
            self._heard = error

    def _explained(self, failure: KafkaException) -> Exception:
        """Return the error with the reason that the client gives only in its error callback."""
        self._admin.poll(0)
        heard, self._heard = self._heard, None
        if heard is not None and heard.code() in REFUSED:
            return Fatal(
                f"Kafka refuses to authenticate this program: {explain(heard)}. Check the user name, the password and "
                "the other security options"
            )
        found = translate(failure, "list the topics")
        return found if heard is None else type(found)(f"{found} ({explain(heard)})")

    def describe(self, names: Collection[str]) -> dict[str, TopicDescription]:
        """Return the descriptions of those topics that exist. Raises Fatal for unauthorized ones."""
        if not names:
            return {}
        futures = self._admin.describe_topics(TopicCollection(sorted(names)), request_timeout=self._timeout)
        found: dict[str, TopicDescription] = {}
        try:
            for name, future in futures.items():
                topic = self._result(future, f"describe topic {name!r}", ignore=(KafkaError.UNKNOWN_TOPIC_OR_PART,))
                if topic is not None:
                    leaders = [one.leader for one in sorted(topic.partitions, key=lambda one: one.id)]
                    racks = tuple("" if leader is None else leader.rack or "" for leader in leaders)
                    topic_id = str(topic.topic_id or "")
                    found[name] = TopicDescription("" if topic_id == NO_ID else topic_id, racks)
        except Retryable:
            self._learn_leaders()
            raise
        return found

    def ids(self, names: Collection[str]) -> dict[str, str]:
        """Return the ids of those topics that exist; "" if brokers report none."""
        return {name: found.id for name, found in self.describe(names).items()}

    def identities(self, names: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return the id and the number of partitions of those topics that exist."""
        return {name: (found.id, len(found.racks)) for name, found in self.describe(names).items()}

    def ensure(self, wanted: Sequence[InternalTopic], replication: int) -> list[InternalTopic]:
        """Create missing internal topics, check the others, and return the created ones.

        Raises TopologyError if an existing topic has another partition count or clean-up policy. A `replication` of -1
        is the broker's default.
        """
        existing = self.partitions()
        missing = [topic for topic in wanted if topic.name not in existing]
        old = self._create(missing, replication, {})
        if old:
            self._create(old, replication, ANY_TIME)
        for topic in wanted:
            if topic.name in existing and existing[topic.name] != topic.partitions:
                raise TopologyError(
                    f"the {topic.kind} topic {topic.name!r} of {topic.owner!r} has {existing[topic.name]} partitions, "
                    f"but this program needs {topic.partitions}. The number must not change while there is state. "
                    "Stop all instances and process the inputs again from their beginning with `tidemill reset`, or, "
                    f"if the topic was created manually, delete it and create it with {topic.partitions} partitions"
                )
        self._check_settings([topic for topic in wanted if topic.name in existing])
        if missing:
            self._wait_for_leaders(missing)
        return missing

    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets of partitions."""
        return self._offsets(keys, OffsetSpec.earliest(), committed=True)

    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]:
        """Return the last stable offsets of partitions, or their high watermarks if not `committed`."""
        return self._offsets(keys, OffsetSpec.latest(), committed=committed)

    def at(self, keys: Iterable[TopicPartition], moment: datetime) -> dict[TopicPartition, int]:
        """Return the first offsets at or after a moment; the end if there is no such record."""
        keys = list(keys)
        found = self._offsets(keys, OffsetSpec.for_timestamp(int(moment.timestamp() * 1000)), committed=True)
        late = [key for key, offset in found.items() if offset < 0]
        return {**found, **self.ends(late, committed=True)} if late else found

    def deletions_kept(self, names: Sequence[str]) -> dict[str, int]:
        """Return how long each topic keeps deletions, in ms.

        This is its setting, but at most Kafka's default. If the settings of a topic may not be read, it counts as
        keeping none.
        """
        asked = {name: ConfigResource(ResourceType.TOPIC, name) for name in names}
        futures: Any = self._admin.describe_configs(list(asked.values()), request_timeout=self._timeout)
        found: dict[str, int] = {}
        for name in names:
            configs = self._result(
                futures[asked[name]],
                f"read the settings of topic {name!r}",
                ignore=(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED),
            )
            if configs is None:
                LOG.warning(
                    "the settings of topic %r may not be read (DescribeConfigs), so it is unknown how long it keeps "
                    "deletions: a store that is behind it is always restored from the beginning",
                    name,
                )
                found[name] = 0
            else:
                entry = configs.get("delete.retention.ms")
                found[name] = min(TOMBSTONES_KEPT_MS, int(entry.value if entry else TOMBSTONES_KEPT_MS))
        return found

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Request deletion of the records before these offsets, without waiting for it."""
        if offsets:
            self._admin.delete_records([KafkaPartition(*key, offset) for key, offset in offsets.items()])

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics, and wait for it."""
        futures = self._admin.delete_topics(list(names), operation_timeout=self._timeout)
        for name, future in futures.items():
            self._result(future, f"delete topic {name!r}", ignore=(KafkaError.UNKNOWN_TOPIC_OR_PART,))

    def _wait_for_leaders(self, made: Sequence[InternalTopic]) -> None:
        """Wait until the cluster has leaders for new topics; raise Retryable if it takes too long.

        Requests for their offsets before that would fail in the client for half a minute.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            there = self._listed(self._timeout)
            waiting = [topic.name for topic in made if not _led(there.get(topic.name))]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise Retryable(f"the topics {', '.join(waiting)} have no leaders yet")
            time.sleep(PAUSE_SECONDS)

    def _create(
        self, topics: Sequence[InternalTopic], replication: int, without: Mapping[str, str]
    ) -> list[InternalTopic]:
        """Create topics; return those with settings that the brokers do not know.

        Old brokers do not know `ANY_TIME`.
        """
        if not topics:
            return []
        made = [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=replication,
                config={name: value for name, value in topic.config.items() if name not in without},
            )
            for topic in topics
        ]
        futures = self._admin.create_topics(made, request_timeout=self._timeout)
        return [topic for topic in topics if not self._created(topic, futures[topic.name], last=bool(without))]

    def _created(self, topic: InternalTopic, future: Future[Any], *, last: bool) -> bool:
        """Return False if the broker does not know a setting; raise the error if it is the `last`."""
        try:
            future.result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is not None and error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return True
            if error is not None and error.code() == KafkaError.INVALID_CONFIG and not last:
                return False
            if error is not None and error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
                raise Fatal(
                    f"could not create the {topic.kind} topic {topic.name!r}: {explain(error)}. There are fewer "
                    "brokers than replicas asked for: set replication_factor to the number of brokers or less"
                ) from failure
            raise translate(failure, f"create the {topic.kind} topic {topic.name!r}") from failure
        except NotInTime as failure:
            raise Retryable(f"could not create the topic {topic.name!r}: no broker answered in time") from failure
        return True

    def _check_settings(self, topics: list[InternalTopic]) -> None:
        found = self.settings([topic.name for topic in topics])
        wrong = [text for topic in topics if (text := misfits(topic, found[topic.name])) is not None]
        if wrong:
            raise TopologyError("; ".join(wrong))
        for topic in topics:
            bounds = bounds_of_time(topic, found[topic.name])
            if bounds:
                self._set(topic.name, bounds)

    def _set(self, name: str, settings: Mapping[str, str]) -> None:
        """Change settings of an internal topic of an earlier version; if not allowed, log how to."""
        entries = [
            ConfigEntry(entry, value, incremental_operation=AlterConfigOpType.SET) for entry, value in settings.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        futures = self._admin.incremental_alter_configs([resource], request_timeout=self._timeout)
        try:
            self._result(futures[resource], f"change the settings of topic {name!r}")
        except Fatal as failure:
            LOG.warning(
                "%s. Records with an event time that the topic does not accept are errors until you call "
                "`kafka-configs --alter --entity-type topics --entity-name %s --add-config %s`",
                failure,
                name,
                ",".join(f"{entry}={value}" for entry, value in settings.items()),
            )

    def settings(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        """Return the settings of topics by name."""
        if not names:
            return {}
        asked = {name: ConfigResource(ResourceType.TOPIC, name) for name in names}
        futures = self._admin.describe_configs(list(asked.values()), request_timeout=self._timeout)
        found: dict[str, dict[str, str]] = {}
        for name, resource in asked.items():
            entries = self._result(futures[resource], f"read the settings of topic {name!r}")
            found[name] = {entry: it.value for entry, it in entries.items() if it.value is not None}
        return found

    def _offsets(
        self, keys: Iterable[TopicPartition], spec: OffsetSpec | None, *, committed: bool
    ) -> dict[TopicPartition, int]:
        asked = {KafkaPartition(*key): spec for key in keys}
        if not asked:
            return {}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        futures = self._admin.list_offsets(asked, isolation_level=level, request_timeout=self._timeout)
        try:
            return {
                (partition.topic, partition.partition): self._checked_offset(
                    self._result(
                        future, f"ask for the offsets of topic {partition.topic!r}, partition {partition.partition}"
                    ).offset,
                    partition,
                )
                for partition, future in futures.items()
            }
        except Retryable:
            self._learn_leaders()
            raise

    @staticmethod
    def _checked_offset(offset: int, partition: KafkaPartition) -> int:
        """Return the offset of a response; raise Retryable if it has none.

        The client also returns results without an offset, and without an error, for partitions with a leader that did
        not answer: used as an end, this would make a valid store look newer than its changelog.
        """
        if offset < NO_SUCH_RECORD:
            raise Retryable(f"the leader of topic {partition.topic!r}, partition {partition.partition} did not answer")
        return offset

    def _learn_leaders(self) -> None:
        """Refresh the client's metadata: without it, the client keeps using the leaders it knows."""
        with contextlib.suppress(KafkaException):
            self._admin.list_topics(timeout=self._timeout)

    def _result(self, future: Future[T], doing: str, ignore: tuple[int, ...] = ()) -> Any:
        try:
            return future.result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is not None and error.code() in ignore:
                return None
            raise translate(failure, doing) from failure
        except NotInTime as failure:
            raise Retryable(f"could not {doing}: no broker answered in {self._timeout:.0f} s") from failure


def _led(topic: Any) -> bool:
    """Return whether all partitions of a topic have leaders, as the client describes it."""
    return topic is not None and topic.error is None and all(one.leader >= 0 for one in topic.partitions.values())
