"""An application's group seen from outside: who is in it, what each member runs, how far its offsets are.

For people, by the commands `status` and `reset`; it joins nothing. What members tell each other is read from what they
told the group when they last joined.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from ..errors import ConfigError, Retryable
from ..kafka.connections import Wire
from ..kafka.describe_groups import RawGroup, RawMember, describe_group
from ..kafka.encoding import Broken
from ..kafka.errors import error_of, translate
from ..kafka.protocol import Code, name_of
from ..kafka.security import connection
from .metadata.user_data import Part, decode_plan, decode_subscription

__all__ = ["Groups", "Member", "View"]

Key = tuple[str, int]
SECONDS = 10.0
PAUSE_SECONDS = 0.2
UNKNOWN_GROUP = 69


@dataclass(frozen=True)
class Member:
    """A member of the group."""

    id: str
    instance_id: str | None
    host: str
    process: str
    active: tuple[str, ...]
    """Its tasks, as `0_3`."""
    standby: tuple[str, ...]
    warming: tuple[str, ...]
    """Tasks that it restores before it takes them over."""
    node: str = ""
    """The name of its machine, "" where it has not said."""


@dataclass(frozen=True)
class View:
    """A group at one moment. `state` is Kafka's word; "Dead" for a group that does not exist."""

    state: str
    members: tuple[Member, ...]


class Groups:
    """Asks about groups, and removes one. `options` by librdkafka's names."""

    def __init__(self, admin: Mapping[str, Any], control: Mapping[str, str], timeout: float = 15.0) -> None:
        """`admin` for librdkafka's admin client, `control` for the membership's own connections."""
        self._admin: Any = AdminClient(dict(admin))  # its stubs know only a part of its types
        self._connection = connection(control)
        self._timeout = timeout

    def view(self, group: str) -> View:
        """State and members of a group. Raises ConfigError when it is not that of an application of Tidemill."""
        raw = asyncio.run(self._ask(group))
        if raw.protocol_type not in ("", "consumer"):
            raise ConfigError(f"the group {group!r} is no consumer group but one of type {raw.protocol_type!r}")
        if raw.state == "Dead" and any(one.group_id == group and is_other_protocol(one) for one in self._listed()):
            raise foreign(group, "they use the newer group protocol (group.protocol=consumer)")
        try:
            members = [member_of(one) for one in raw.members]
        except Broken as failure:
            hosts = ", ".join(sorted({one.host for one in raw.members}))
            raise foreign(group, f"members run on {hosts}") from failure
        return View(raw.state, tuple(sorted(members, key=lambda it: (it.host, it.process, it.id))))

    def names(self) -> list[str]:
        """All groups there are."""
        return sorted(one.group_id for one in self._listed())

    def _listed(self) -> list[Any]:
        try:
            return self._admin.list_consumer_groups(request_timeout=self._timeout).result(self._timeout + 5).valid
        except KafkaException as failure:
            raise translate(failure, "list the groups") from failure

    def offsets(self, group: str) -> dict[Key, int]:
        """The committed offsets of a group."""
        return {key: offset for key, (offset, _) in self.committed(group).items()}

    def committed(self, group: str) -> dict[Key, tuple[int, str]]:
        """The committed offsets of a group with their metadata."""
        asked = [ConsumerGroupTopicPartitions(group)]
        futures = self._admin.list_consumer_group_offsets(asked, request_timeout=self._timeout)
        try:
            found = futures[group].result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is not None and error.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            raise translate(failure, f"read the offsets of group {group!r}") from failure
        return {
            (it.topic, it.partition): (it.offset, (it.metadata or "").rstrip("\0"))
            for it in found.topic_partitions
            if it.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[Key, tuple[int, str]]) -> None:
        """Commits offsets with their metadata for a group without members."""
        wanted = [TopicPartition(*key, offset, metadata) for key, (offset, metadata) in offsets.items()]
        asked = [ConsumerGroupTopicPartitions(group, wanted)]
        futures = self._admin.alter_consumer_group_offsets(asked, request_timeout=self._timeout)
        try:
            found = futures[group].result(self._timeout + 5)
        except KafkaException as failure:
            raise translate(failure, f"commit offsets of group {group!r}") from failure
        for one in found.topic_partitions:
            if one.error is not None:
                raise translate(KafkaException(one.error), f"commit the offset of {one.topic!r}, {one.partition}")

    def delete(self, group: str) -> None:
        """Deletes a group without members, with its offsets; one that does not exist is fine."""
        futures = self._admin.delete_consumer_groups([group], request_timeout=self._timeout)
        try:
            futures[group].result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is None or error.code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise translate(failure, f"delete the group {group!r}") from failure

    async def _ask(self, group: str) -> RawGroup:
        wire = Wire(self._connection)
        try:
            await wire.brokers()
            found = await self._patiently(wire, group)
        finally:
            await wire.close()
        if found.error == UNKNOWN_GROUP:
            return RawGroup(Code.NONE, "Dead", "", ())
        if found.error != Code.NONE:
            raise Retryable(f"the group {group!r} cannot be described: {name_of(found.error)}")
        return found

    async def _patiently(self, wire: Wire, group: str) -> RawGroup:
        """Waits for a coordinator: a cluster that has never had a group makes the topic for it first."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return await wire.send(await wire.coordinator(group), describe_group(group), SECONDS)
            except Retryable:
                if time.monotonic() > deadline:
                    raise
                wire.forget(group)
            await asyncio.sleep(PAUSE_SECONDS)


def foreign(group: str, how: str) -> ConfigError:
    """For a group whose members are no processes of Tidemill."""
    return ConfigError(
        f"the group {group!r} is in use by consumers of another kind: {how}. If this is not the application that you "
        "meant, correct its id; if it is, stop those consumers or choose another application id"
    )


def is_other_protocol(listed: Any) -> bool:
    """Whether a group has members by the protocol that DescribeGroups does not know."""
    return listed.type == ConsumerGroupType.CONSUMER and listed.state != ConsumerGroupState.EMPTY


def member_of(raw: RawMember) -> Member:
    """A member with its tasks, as far as it has been given any; during a rebalance Kafka tells of neither."""
    if not raw.metadata:
        return Member(raw.id, raw.instance_id, raw.host, "", (), (), ())
    report, _ = decode_subscription(raw.metadata)
    own = [Part(number, it.name, it.hash, it.topics, it.stateful) for number, it in enumerate(report.parts)]
    if not raw.assignment:
        return Member(raw.id, raw.instance_id, raw.host, report.process, (), (), (), report.node)
    plan = decode_plan(raw.assignment, own).plan
    return Member(
        raw.id,
        raw.instance_id,
        raw.host,
        report.process,
        in_order(plan.active),
        in_order(plan.standby),
        in_order(plan.warming),
        report.node,
    )


def in_order(tasks: Iterable[Any]) -> tuple[str, ...]:
    """Task ids as text, in order."""
    return tuple(str(task) for task in sorted(tasks))
