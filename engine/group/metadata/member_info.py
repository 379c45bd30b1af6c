"""Addresses of members for the liveness monitor, and which members each one watches."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = ["MOST", "MemberInfo", "neighbours"]

MOST = 8
"""The maximum number of members that a member watches: the next ones in the order of their ids."""


class MemberInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A living member; `peer` is the address at which its process can be watched."""

    member: str
    process: str
    peer: str = ""
    static: bool = False


def neighbours(ordered: Sequence[MemberInfo], me: str) -> list[MemberInfo]:
    """Return the members that `me` watches: all others, or the next ones if there are many.

    `ordered` is sorted by member id.
    """
    at = next((i for i, info in enumerate(ordered) if info.member == me), 0)
    return [info for info in (*ordered[at + 1 : at + 1 + MOST], *ordered[:at]) if info.member != me][:MOST]
