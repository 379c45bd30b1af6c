"""The settings and events of a membership: values only."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ..assignment.assignment import AssignmentPolicy, MemberAssignment
from ..errors import TidemillError
from ..ids import TaskId
from ..kafka.security import Connection, connection
from .metadata.member_metadata import SubTopologyInfo

__all__ = ["Assigned", "Event", "Failed", "Former", "Lost", "MembershipSettings"]


class Former(NamedTuple):
    """The ids of this process before its restart, as kept in its state directory."""

    member_id: str
    process: str


def new_process() -> str:
    return uuid.uuid4().hex


def forgotten(_member_id: str, _process: str) -> None:
    """Keep nothing: the default for a process without a place to store its ids."""


@dataclass(frozen=True)
class MembershipSettings:
    """The settings of a process's membership in the group. Durations are in milliseconds."""

    group: str
    parts: tuple[SubTopologyInfo, ...]
    options: Mapping[str, str]
    """Options for the Kafka client, by librdkafka's names, with `bootstrap.servers`."""
    process: str = field(default_factory=new_process)
    """32 hexadecimal digits, unique to this process; the number of the epoch is appended to it."""
    former: Former | None = None
    instance_id: str | None = None
    policy: AssignmentPolicy = field(default_factory=AssignmentPolicy)
    rack: str = ""
    node: str = ""
    """The machine, for the placement of standbys; if empty, the name of the machine."""
    session_timeout: int = 45_000
    heartbeat_interval: int = 1_000
    rebalance_timeout: int = 60_000
    max_poll_interval: int = 300_000
    transaction_timeout: int = 120_000
    review_interval: int = 600_000
    """The minimum time between rebalances that are triggered only by a change of this process's load."""
    hold: int = 500
    """How long sending offsets may wait for this member's own JoinGroup."""
    watch_peers: bool = True
    """Whether members monitor each other's processes, to detect a death before its session times out."""
    transactions: bool = True
    """False if there is nothing to fence, as under at_least_once."""
    remember: Callable[[str, str], None] = forgotten
    """Stores member id and process before the group has them, so that a restart can fence a process killed while
    joining. Called in the membership's thread."""

    def connection(self) -> Connection:
        return connection({"client.id": f"tidemill-{self.group}", **self.options})


@dataclass(frozen=True)
class Assigned:
    """A new assignment, which supersedes every earlier one of the epoch."""

    generation: int
    epoch: int
    plan: MemberAssignment
    process: str
    """The process id of the epoch: the transactional.id of its producer is `ids.transactional_id(group, process)`."""
    member_id: str
    surplus: frozenset[TaskId] = frozenset()
    """Tasks still owned that the plan takes away, whether or not the process has seen the plan that assigned them.
    Other members may get them once they are released."""


@dataclass(frozen=True)
class Lost:
    """The end of the membership of an epoch: drop its tasks without a commit, and its producer."""

    epoch: int
    why: str


@dataclass(frozen=True)
class Failed:
    """A permanent refusal by the group: the membership has ended."""

    epoch: int
    error: TidemillError


Event: TypeAlias = "Assigned | Lost | Failed"
