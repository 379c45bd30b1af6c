"""DescribeGroups: the members of a group as its coordinator knows them."""

from __future__ import annotations

from typing import NamedTuple

from .encoding import Reader, Request, Writer
from .protocol import Code

__all__ = ["RawGroup", "RawMember", "describe_group"]


class RawMember(NamedTuple):
    """A member as the coordinator tells of it."""

    id: str
    instance_id: str | None
    host: str
    metadata: bytes
    assignment: bytes


class RawGroup(NamedTuple):
    """The answer to DescribeGroups."""

    error: int
    state: str
    protocol_type: str
    members: tuple[RawMember, ...]


def describe_group(group: str) -> Request[RawGroup]:
    """State and members of one group."""

    def member(r: Reader) -> RawMember:
        identity, instance, _client, host = r.string() or "", r.string(), r.string(), r.string() or ""
        return RawMember(identity, instance, host.removeprefix("/"), r.bytes(), r.bytes())

    def read(r: Reader) -> RawGroup:
        r.int32()
        found = RawGroup(Code.NONE, "Dead", "", ())
        for _ in r.count():
            error, _group, state, kind, _protocol = r.int16(), r.string(), r.string(), r.string(), r.string()
            found = RawGroup(error, state or "", kind or "", tuple(member(r) for _ in r.count()))
            r.int32()
        return found

    return Request(15, 4, Writer().int32(1).string(group).int8(0).done(), read)
