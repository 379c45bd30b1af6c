"""What a process says to enter the group, and what it hears: settings and events of a membership, values only."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ..assignment.assignment import Plan, Policy
from ..errors import TidemillError
from ..ids import TaskId
from ..kafka.security import Connection, connection
from .metadata.user_data import Part

__all__ = ["Assigned", "Event", "Failed", "Former", "Lost", "MembershipSettings"]


class Former(NamedTuple):
    """Who this process was before it was restarted, as kept in its state directory."""

    member_id: str
    process: str


def new_process() -> str:
    return uuid.uuid4().hex


def forgotten(_member_id: str, _process: str) -> None:
    """For a process that has no place to keep who it is."""


@dataclass(frozen=True)
class MembershipSettings:
    """How a process takes part in the group. Durations are milliseconds."""

    group: str
    parts: tuple[Part, ...]
    options: Mapping[str, str]
    """Options for the Kafka client, by librdkafka's names, with `bootstrap.servers`."""
    process: str = field(default_factory=new_process)
    """32 hexadecimal digits that no other process has; the epoch's number is added to it."""
    former: Former | None = None
    instance_id: str | None = None
    policy: Policy = field(default_factory=Policy)
    rack: str = ""
    node: str = ""
    """The machine, for standbys: its name if empty."""
    session_timeout: int = 45_000
    heartbeat_interval: int = 1_000
    rebalance_timeout: int = 60_000
    max_poll_interval: int = 300_000
    transaction_timeout: int = 120_000
    review_interval: int = 600_000
    """How often, at most, a change of this process's load alone makes the group assign anew."""
    hold: int = 500
    """For how long sending offsets may wait for a JoinGroup of ours."""
    watch_peers: bool = True
    """Whether members watch each other's processes, to notice a death before its session times out."""
    transactions: bool = True
    """False when there is nothing to fence, as under at_least_once."""
    remember: Callable[[str, str], None] = forgotten
    """Keeps member id and process before the group has them, so that a restart can end what was killed while joining.
    Called in the membership's thread."""

    def connection(self) -> Connection:
        return connection({"client.id": f"tidemill-{self.group}", **self.options})


@dataclass(frozen=True)
class Assigned:
    """What to do from now on. Supersedes every earlier plan of the epoch."""

    generation: int
    epoch: int
    plan: Plan
    process: str
    """The incarnation: the transactional.id of this epoch's producer is `ids.transactional_id(group, process)`."""
    member_id: str
    surplus: frozenset[TaskId] = frozenset()
    """Tasks that are still ours and that the plan takes away, whether or not anybody has heard that they were given:
    others may have them once they are released."""


@dataclass(frozen=True)
class Lost:
    """Membership of this epoch is gone: drop its tasks without a commit and throw the producer away."""

    epoch: int
    why: str


@dataclass(frozen=True)
class Failed:
    """The group refuses this process for good; membership has ended."""

    epoch: int
    error: TidemillError


Event: TypeAlias = "Assigned | Lost | Failed"
