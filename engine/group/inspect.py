"""Inspection of an application's group from outside: members, tasks, committed offsets.

Used by the commands `status` and `reset`; it does not join the group. What members run is read from the metadata that
they sent when they last joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
)
from confluent_kafka import (
    TopicPartition as KafkaPartition,
)
from confluent_kafka.admin import AdminClient

from ...state.topic_partition import TopicPartition
from ..errors import ConfigError, Retryable
from ..kafka.connections import BrokerConnections
from ..kafka.describe_groups import DescribedGroup, DescribedMember, describe_group
from ..kafka.encoding import ProtocolError
from ..kafka.errors import error_of, translate
from ..kafka.protocol import ErrorCode, error_name
from ..kafka.security import connection
from .coordinator import ask_coordinator
from .metadata.member_metadata import SubTopologyInfo, decode_plan, decode_subscription
from .offsets import fetch_all_committed

__all__ = ["GroupDescription", "GroupInspector", "MemberDescription"]

UNKNOWN_GROUP = 69


@dataclass(frozen=True)
class MemberDescription:
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
    """The name of its machine; "" if the member has not reported it."""


@dataclass(frozen=True)
class GroupDescription:
    """A group at one moment. `state` is Kafka's term; "Dead" for a group that does not exist."""

    state: str
    members: tuple[MemberDescription, ...]


class GroupInspector:
    """A client that describes groups and can delete one. Options have librdkafka's names."""

    def __init__(self, admin: Mapping[str, Any], control: Mapping[str, str], timeout: float = 15.0) -> None:
        """Use `admin` for librdkafka's admin client, `control` for Tidemill's own connections."""
        self._admin: Any = AdminClient(dict(admin))  # its type stubs are incomplete
        self._connection = connection(control)
        self._timeout = timeout

    def view(self, group: str) -> GroupDescription:
        """Return the state and members of a group.

        Raises ConfigError if it is not the group of a Tidemill application.
        """
        raw = asyncio.run(self._ask(group))
        if raw.protocol_type not in ("", "consumer"):
            raise ConfigError(f"the group {group!r} is not a consumer group, it has the type {raw.protocol_type!r}")
        if raw.state == "Dead" and any(one.group_id == group and is_other_protocol(one) for one in self._listed()):
            raise foreign(group, "they use the newer group protocol (group.protocol=consumer)")
        try:
            members = [member_of(one) for one in raw.members]
        except ProtocolError as failure:
            hosts = ", ".join(sorted({one.host for one in raw.members}))
            raise foreign(group, f"members run on {hosts}") from failure
        return GroupDescription(raw.state, tuple(sorted(members, key=lambda it: (it.host, it.process, it.id))))

    def names(self) -> list[str]:
        """Return the names of all groups."""
        return sorted(one.group_id for one in self._listed())

    def _listed(self) -> list[Any]:
        try:
            return self._admin.list_consumer_groups(request_timeout=self._timeout).result(self._timeout + 5).valid
        except KafkaException as failure:
            raise translate(failure, "list the groups") from failure

    def offsets(self, group: str) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group."""
        return {key: offset for key, (offset, _) in self.committed(group).items()}

    def committed(self, group: str, *, stable: bool = False) -> dict[TopicPartition, tuple[int, str]]:
        """Return the committed offsets of a group, with their metadata.

        With `stable`, raises Retryable while a transaction that commits any of them is open.
        """
        return asyncio.run(self._committed(group, stable=stable))

    async def _committed(self, group: str, *, stable: bool) -> dict[TopicPartition, tuple[int, str]]:
        """Ask without librdkafka, whose admin client crashes while a coordinator loads."""
        wire = BrokerConnections(self._connection)
        try:
            await wire.brokers()
            deadline = asyncio.get_running_loop().time() + self._timeout
            return await fetch_all_committed(wire, group, deadline, stable=stable)
        finally:
            await wire.close()

    def commit(self, group: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets with their metadata for a group without members."""
        wanted = [KafkaPartition(*key, offset, metadata) for key, (offset, metadata) in offsets.items()]
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
        """Delete a group without members, with its offsets. It need not exist."""
        futures = self._admin.delete_consumer_groups([group], request_timeout=self._timeout)
        try:
            futures[group].result(self._timeout + 5)
        except KafkaException as failure:
            error = error_of(failure)
            if error is None or error.code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise translate(failure, f"delete the group {group!r}") from failure

    async def _ask(self, group: str) -> DescribedGroup:
        wire = BrokerConnections(self._connection)
        try:
            await wire.brokers()
            deadline = asyncio.get_running_loop().time() + self._timeout
            what = f"the group {group!r} could not be described"
            request = describe_group(group)
            found = await ask_coordinator(wire, group, request, lambda answer: answer.error, deadline, what)
        finally:
            await wire.close()
        if found.error == UNKNOWN_GROUP:
            return DescribedGroup(ErrorCode.NONE, "Dead", "", ())
        if found.error != ErrorCode.NONE:
            raise Retryable(f"the group {group!r} cannot be described: {error_name(found.error)}")
        return found


def foreign(group: str, how: str) -> ConfigError:
    """Make the error for a group with members that are not Tidemill processes."""
    return ConfigError(
        f"the group {group!r} is in use by other consumers, not by Tidemill: {how}. If this is not the application you "
        "meant, correct its id; if it is, stop those consumers or choose another application id"
    )


def is_other_protocol(listed: Any) -> bool:
    """Return whether a group has members with the protocol that DescribeGroups does not know."""
    return listed.type == ConsumerGroupType.CONSUMER and listed.state != ConsumerGroupState.EMPTY


def member_of(raw: DescribedMember) -> MemberDescription:
    """Decode a member with its tasks, if it has any; Kafka shows none during a rebalance."""
    if not raw.metadata:
        return MemberDescription(raw.id, raw.instance_id, raw.host, "", (), (), ())
    report, _ = decode_subscription(raw.metadata)
    own = [SubTopologyInfo(number, it.name, it.hash, it.topics, it.stateful) for number, it in enumerate(report.parts)]
    if not raw.assignment:
        return MemberDescription(raw.id, raw.instance_id, raw.host, report.process, (), (), (), report.node)
    plan = decode_plan(raw.assignment, own).plan
    return MemberDescription(
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
    """Return task ids as text, in order."""
    return tuple(str(task) for task in sorted(tasks))
