"""The metadata that a member sends when it joins: its tasks, lags, weights and address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..assignment.assignment import coarse
from ..ids import TaskId
from ..kafka.encoding import Request
from ..kafka.protocol import JoinGroupResponse, join_group
from .events import MembershipSettings
from .membership_state import MembershipState
from .metadata.member_metadata import SubscriptionInfo, SubTopologyData, SubTopologyInfo, subscription
from .metadata.shared_state import figures, numbered

__all__ = ["join_request", "self_report", "subtopology_data"]

PROTOCOL = "tidemill"


def join_request(
    settings: MembershipSettings,
    state: MembershipState,
    parts: tuple[SubTopologyInfo, ...],
    peer: str,
    turn: int,
    shared: bytes,
) -> Request[JoinGroupResponse]:
    """Make the request to join or rebalance; `shared` is the shared state kept by this member."""
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


def self_report(
    settings: MembershipSettings, state: MembershipState, parts: tuple[SubTopologyInfo, ...], peer: str, turn: int
) -> SubscriptionInfo:
    """Return the current metadata of this member, for the next plan.

    For use on the membership's event loop.
    """
    order = {subtopology.id: index for index, subtopology in enumerate(parts)}
    with state.changed:
        own = state.ownership
        own.described()
        state.reported_lags, state.reported_at = dict(state.lags), asyncio.get_running_loop().time()
        return SubscriptionInfo(
            process=own.process,
            parts=subtopology_data(parts),
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
            lags=figures(rounded_lags(state.lags, settings.policy.acceptable_lag), order),
            weights=figures({task: coarse(weight) for task, weight in state.weights.items()}, order),
            sizes=figures({task: coarse(size) for task, size in state.sizes.items()}, order),
        )


def subtopology_data(parts: tuple[SubTopologyInfo, ...]) -> list[SubTopologyData]:
    """Return the sub-topologies in the form that is sent to the group."""
    return [SubTopologyData(p.name, p.hash, dict(p.topics), p.stateful, sorted(p.changelogs)) for p in parts]


def rounded_lags(lags: Mapping[TaskId, int], acceptable: int) -> dict[TaskId, int]:
    """Round lags: exact numbers would take more room, and no decision depends on them."""
    return {task: 0 if lag <= acceptable else coarse(lag) for task, lag in lags.items()}
