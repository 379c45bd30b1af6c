"""Where members can be watched, and who watches whom."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

__all__ = ["MOST", "Seat", "neighbours"]

MOST = 8
"""A member watches at most this many others, the next ones in the order of their ids."""


class Seat(msgspec.Struct, frozen=True, omit_defaults=True):
    """A living member: `peer` is where it can be asked whether it lives."""

    member: str
    process: str
    peer: str = ""
    static: bool = False


def neighbours(ordered: Sequence[Seat], me: str) -> list[Seat]:
    """The members that `me` watches: all others, or the next ones when there are many. They come by their ids."""
    at = next((i for i, seat in enumerate(ordered) if seat.member == me), 0)
    return [seat for seat in (*ordered[at + 1 : at + 1 + MOST], *ordered[:at]) if seat.member != me][:MOST]
