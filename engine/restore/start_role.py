"""The role of an application when a process starts: active, or a shadow.

All committed offsets of the group have it, whatever the program reads now. The topics of a shadow are created here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...operators.graph.topology import Topology
from ..clock import Clock
from ..config.settings import Settings
from ..errors import Fatal, Retryable
from ..group.offsets import committed_metadata
from ..kafka.options import group_options
from ..kafka.topics import Topics
from ..plan.shadow_topics import refuse_effects, shadow_topics
from ..tasks.roles import Role, role_of, why_retired, why_standing
from ..topics.changes import outputs_of

__all__ = ["make_shadow_topics", "role_at_start"]

LOG = logging.getLogger("tidemill")
PAUSE_MS = 500
ANSWER_SECONDS = 3.0
STANDING_MS = 100


def role_at_start(
    topology: Topology, settings: Settings, topics: Topics, clock: Clock, stopping: Callable[[], bool]
) -> Role:
    """Return the role; create the topics of a shadow.

    While a cut-over is under way, it is waited for. Raises TopologyError for a shadow with effects outside of its
    topics, and Fatal if another application has taken its place or Kafka does not respond within `connect_timeout`.
    """
    began, role, told = clock.monotonic(), Role(), False
    while not stopping():
        try:
            role = role_of(committed_metadata(group_options(settings), settings.app_id, None, ANSWER_SECONDS).values())
            if role.standing:
                if not told:
                    LOG.warning("%s", why_standing(settings.app_id, role))
                told, began = True, clock.monotonic()
                clock.sleep(STANDING_MS)
                continue
            if role.retired:
                raise Fatal(why_retired(settings.app_id, role))
            if role.shadow:
                refuse_effects(settings.app_id, topology)
                make_shadow_topics(topology, settings, topics)
        except Retryable as failure:
            if clock.monotonic() - began > settings.connect_timeout:
                raise Fatal(f"the committed offsets cannot be read: {failure}") from failure
            clock.sleep(PAUSE_MS)
        else:
            break
    if role.shadow:
        LOG.info("%s is the shadow of %s: it writes to shadow topics only", settings.app_id, role.other)
    return role


def make_shadow_topics(topology: Topology, settings: Settings, topics: Topics) -> list[str]:
    """Create missing shadow topics, and return the names of all.

    Raises Retryable, TopologyError or Fatal.
    """
    outputs, existing = outputs_of(topology), topics.partitions()
    made = shadow_topics(settings.app_id, outputs, existing, topics.settings(outputs))
    topics.ensure(made, settings.replication_factor)
    return [topic.name for topic in made]
