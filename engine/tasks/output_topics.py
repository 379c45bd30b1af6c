"""The topics that outputs are written to: those of the program, or those of a shadow."""

from __future__ import annotations

from collections.abc import Sequence

from ...operators.record import Outgoing
from ..plan.plan import Plan
from ..plan.shadow_topics import shadow_topic
from .roles import CurrentRole

__all__ = ["OutputTopics"]


class OutputTopics:
    """The topics of one application."""

    def __init__(self, plan: Plan, role: CurrentRole) -> None:
        self._app_id = plan.app_id
        self._repartitions = frozenset(topic for part in plan.subtopologies for topic in part.writes.values())
        self._role = role

    def addressed(self, outgoing: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Return the outputs as they are written.

        Records for repartition topics go there in any role.
        """
        if not self._role.now.shadow:
            return outgoing
        return [
            out if out.topic in self._repartitions else out._replace(topic=shadow_topic(self._app_id, out.topic))
            for out in outgoing
        ]
