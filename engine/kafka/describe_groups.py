"""DescribeGroups: the members of a group, as its coordinator reports them."""

from __future__ import annotations

from typing import NamedTuple

from .encoding import Request, RequestWriter, ResponseReader
from .protocol import ErrorCode

__all__ = ["DescribedGroup", "DescribedMember", "describe_group"]


class DescribedMember(NamedTuple):
    """A member as reported by the coordinator."""

    id: str
    instance_id: str | None
    host: str
    metadata: bytes
    assignment: bytes


class DescribedGroup(NamedTuple):
    """The response to DescribeGroups."""

    error: int
    state: str
    protocol_type: str
    members: tuple[DescribedMember, ...]


def describe_group(group: str) -> Request[DescribedGroup]:
    """Make a request for the state and members of one group."""

    def member(r: ResponseReader) -> DescribedMember:
        identity, instance, _client, host = r.string() or "", r.string(), r.string(), r.string() or ""
        return DescribedMember(identity, instance, host.removeprefix("/"), r.bytes(), r.bytes())

    def read(r: ResponseReader) -> DescribedGroup:
        r.int32()
        found = DescribedGroup(ErrorCode.NONE, "Dead", "", ())
        for _ in r.count():
            error, _group, state, kind, _protocol = r.int16(), r.string(), r.string(), r.string(), r.string()
            found = DescribedGroup(error, state or "", kind or "", tuple(member(r) for _ in r.count()))
            r.int32()
        return found

    return Request(15, 4, RequestWriter().int32(1).string(group).int8(0).done(), read)
