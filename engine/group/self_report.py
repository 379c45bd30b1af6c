"""What a member tells the group of itself when it joins: its tasks, its figures and where it can be found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..assignment.assignment import coarse
from ..ids import TaskId
from ..kafka.encoding import Request
from ..kafka.protocol import Joined, join_group
from .events import MembershipSettings
from .metadata.assignment_state import figures, numbered
from .metadata.user_data import Part, PartOnWire, Report, subscription
from .shared import State

__all__ = ["join_request", "parts_on_wire", "self_report"]

PROTOCOL = "tidemill"


def join_request(
    settings: MembershipSettings, state: State, parts: tuple[Part, ...], peer: str, turn: int, shared: bytes
) -> Request[Joined]:
    """Asks to join, or for a rebalance. `shared` is what this member keeps for the group."""
    report = self_report(settings, state, parts, peer, turn)
    return join_group(
        settings.group,
        settings.session_timeout,
        settings.rebalance_timeout,
        state.member,
        settings.instance_id,
        PROTOCOL,
        subscription(parts, report, shared),
    )


def self_report(settings: MembershipSettings, state: State, parts: tuple[Part, ...], peer: str, turn: int) -> Report:
    """The report as of now; the next plan is made from it. For use on the membership's event loop."""
    order = {part.id: index for index, part in enumerate(parts)}
    with state.changed:
        own = state.ownership
        own.described()
        state.told_lags, state.told_at = dict(state.lags), asyncio.get_running_loop().time()
        return Report(
            process=own.process,
            parts=parts_on_wire(parts),
            peer=peer,
            node=settings.node,
            rack=settings.rack,
            static=settings.instance_id is not None,
            generation=own.generation,
            turn=turn,
            owned=numbered(own.owned, order),
            opening=[(order[t.subtopology], t.partition, list(c)) for t, c in sorted(own.opening.items())],
            standby=numbered(own.plan.standby, order),
            promised=numbered(own.plan.promised, order),
            warming=numbered(own.plan.warming, order),
            lags=figures(lags_to_tell(state.lags, settings.policy.acceptable_lag), order),
            weights=figures({task: coarse(weight) for task, weight in state.weights.items()}, order),
            sizes=figures({task: coarse(size) for task, size in state.sizes.items()}, order),
        )


def parts_on_wire(parts: tuple[Part, ...]) -> list[PartOnWire]:
    """What the group is told of the topology."""
    return [PartOnWire(p.name, p.hash, dict(p.topics), p.stateful, sorted(p.changelogs)) for p in parts]


def lags_to_tell(lags: Mapping[TaskId, int], acceptable: int) -> dict[TaskId, int]:
    """Lags as others hear of them: exact numbers would take room, and nothing is decided by them."""
    return {task: 0 if lag <= acceptable else coarse(lag) for task, lag in lags.items()}
