"""What a member tells the group of itself when it joins: its tasks, its figures and where it can be found."""

from __future__ import annotations

import asyncio

from .events import MembershipSettings
from .state import State
from .userdata import Part, PartOnWire, Report, figures, numbered

__all__ = ["parts_on_wire", "self_report"]


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
            host=settings.host,
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
            lags=figures(state.lags, order),
            weights=figures(state.weights, order),
            sizes=figures(state.sizes, order),
        )


def parts_on_wire(parts: tuple[Part, ...]) -> list[PartOnWire]:
    """What the group is told of the topology."""
    return [PartOnWire(part.name, part.hash, dict(part.topics), part.stateful) for part in parts]
