"""Topics seen from outside: do they exist, how many partitions, where do they begin and end.

Creates the application's internal topics and checks those that exist already; deletes what repartition topics no longer
need. Every call asks a broker and may raise Retryable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,  # pyright: ignore[reportPrivateImportUsage]
    NewTopic,  # pyright: ignore[reportPrivateImportUsage]
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
    ResourceType,  # pyright: ignore[reportPrivateImportUsage]
)

from ..errors import Fatal, Retryable, TopologyError
from ..plan import InternalTopic
from .failures import error_of, explain, translate

__all__ = ["Topics"]

Key = tuple[str, int]
T = TypeVar("T")


class Topics:
    """An admin client for what the engine asks of topics. `timeout` in seconds bounds each call."""

    def __init__(self, options: Mapping[str, Any], timeout: float = 15.0) -> None:
        self._admin: Any = AdminClient(dict(options))  # its stubs know only a part of its types
        self._timeout = timeout

    def partitions(self, timeout: float | None = None) -> dict[str, int]:
        """Partition counts of all topics there are; `timeout` in seconds where the usual one is too long."""
        try:
            found = self._admin.list_topics(timeout=self._timeout if timeout is None else timeout)
        except KafkaException as failure:
            raise translate(failure, "list the topics") from failure
        return {
            name: len(topic.partitions)
            for name, topic in found.topics.items()
            if topic.error is None or topic.error.code() == KafkaError.LEADER_NOT_AVAILABLE
        }

    def matching(self, pattern: str) -> tuple[str, ...]:
        """The topics whose whole name matches a regular expression, sorted; Kafka's own are left out."""
        regex = re.compile(pattern)
        return tuple(sorted(name for name in self.partitions() if regex.fullmatch(name) and not name.startswith("__")))

    def ensure(self, wanted: Sequence[InternalTopic], replication: int) -> list[InternalTopic]:
        """Creates the internal topics that are missing and checks the others; gives those it created.

        Raises TopologyError when an existing one has another partition count or clean-up policy. `replication` of -1
        is the broker's default.
        """
        existing = self.partitions()
        missing = [topic for topic in wanted if topic.name not in existing]
        if missing:
            futures = self._admin.create_topics(
                [
                    NewTopic(
                        topic.name,
                        num_partitions=topic.partitions,
                        replication_factor=replication,
                        config=topic.config,
                    )
                    for topic in missing
                ],
                request_timeout=self._timeout,
            )
            for topic in missing:
                self._created(topic, futures[topic.name])
        for topic in wanted:
            if topic.name in existing and existing[topic.name] != topic.partitions:
                raise TopologyError(
                    f"the {topic.kind} topic {topic.name!r} of {topic.owner!r} has {existing[topic.name]} partitions, "
                    f"but this program needs {topic.partitions}, as many as its input topics have. Their number must "
                    "not change while there is state. To begin anew, stop all instances and run `tidemill reset`; "
                    "to keep the state, give the input topic its former number of partitions"
                )
        self._check_policies([topic for topic in wanted if topic.name in existing])
        return missing

    def begins(self, keys: Iterable[Key]) -> dict[Key, int]:
        """The first offsets of partitions."""
        return self._offsets(keys, OffsetSpec.earliest(), committed=True)

    def ends(self, keys: Iterable[Key], *, committed: bool) -> dict[Key, int]:
        """The end offsets of partitions: the last stable ones, or with `committed` false the high watermarks."""
        return self._offsets(keys, OffsetSpec.latest(), committed=committed)

    def at(self, keys: Iterable[Key], moment: datetime) -> dict[Key, int]:
        """The first offsets at or after a moment; the end where there is no such record."""
        keys = list(keys)
        found = self._offsets(keys, OffsetSpec.for_timestamp(int(moment.timestamp() * 1000)), committed=True)
        late = [key for key, offset in found.items() if offset < 0]
        return {**found, **self.ends(late, committed=True)} if late else found

    def delete_before(self, offsets: Mapping[Key, int]) -> None:
        """Asks for the records before these offsets to be deleted; does not wait for it."""
        if offsets:
            self._admin.delete_records([TopicPartition(*key, offset) for key, offset in offsets.items()])

    def delete(self, names: Iterable[str]) -> None:
        """Deletes topics, and waits."""
        futures = self._admin.delete_topics(list(names), operation_timeout=self._timeout)
        for name, future in futures.items():
            self._result(future, f"delete topic {name!r}", ignore=(KafkaError.UNKNOWN_TOPIC_OR_PART,))

    def _created(self, topic: InternalTopic, future: Future[Any]) -> None:
        try:
            future.result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is not None and error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            if error is not None and error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
                raise Fatal(
                    f"could not create the {topic.kind} topic {topic.name!r}: {explain(error)}. There are fewer "
                    "brokers than replicas asked for: set replication_factor to the number of brokers or less"
                ) from failure
            raise translate(failure, f"create the {topic.kind} topic {topic.name!r}") from failure

    def _check_policies(self, topics: list[InternalTopic]) -> None:
        if not topics:
            return
        asked = {topic.name: ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics}
        futures = self._admin.describe_configs(list(asked.values()), request_timeout=self._timeout)
        for topic in topics:
            configs = self._result(futures[asked[topic.name]], f"read the settings of topic {topic.name!r}")
            policy = configs["cleanup.policy"].value or ""
            wanted = topic.config["cleanup.policy"]
            if policy != wanted:
                raise TopologyError(
                    f"the {topic.kind} topic {topic.name!r} has cleanup.policy={policy}, but must have {wanted}: "
                    "otherwise the broker would delete state that is still needed. Correct it with `kafka-configs "
                    f"--alter --entity-type topics --entity-name {topic.name} --add-config cleanup.policy={wanted}`"
                )

    def _offsets(self, keys: Iterable[Key], spec: OffsetSpec | None, *, committed: bool) -> dict[Key, int]:
        asked = {TopicPartition(*key): spec for key in keys}
        if not asked:
            return {}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        futures = self._admin.list_offsets(asked, isolation_level=level, request_timeout=self._timeout)
        return {
            (partition.topic, partition.partition): self._result(
                future, f"ask for the offsets of topic {partition.topic!r}, partition {partition.partition}"
            ).offset
            for partition, future in futures.items()
        }

    def _result(self, future: Future[T], doing: str, ignore: tuple[int, ...] = ()) -> Any:
        try:
            return future.result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is not None and error.code() in ignore:
                return None
            raise translate(failure, doing) from failure
        except TimeoutError as failure:
            raise Retryable(f"could not {doing}: no broker answered in {self._timeout:.0f} s") from failure
