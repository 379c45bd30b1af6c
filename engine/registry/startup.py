"""The registries of a program, and the schemas that it writes with, at its start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from ...operators.graph.topology import Topology
from ...operators.schemas.wire import TopicSerde
from ..clock import Clock
from ..errors import Retryable
from ..reminder import Reminder
from .figures import RegistryFigures
from .schemas import SchemaCache

__all__ = ["figures_of", "resolve", "resolve_when_up"]

LOG = logging.getLogger("tidemill.registry")
PAUSE_MS: Final = 500
REMIND_MS: Final = 10_000


def topic_serdes(nodes: Any) -> Iterator[TopicSerde]:
    """Yield the serdes with schemas of a registry, also those inside of windowed keys."""
    for node in nodes:
        for serde in (node.key, node.value):
            inner = getattr(serde, "inner", serde)
            if isinstance(inner, TopicSerde):
                yield inner


def figures_of(topology: Topology) -> tuple[RegistryFigures, ...]:
    """Return the figures of the registries that a program uses."""
    found: dict[str, RegistryFigures] = {}
    for serde in topic_serdes((*topology.sources, *topology.sinks)):
        if isinstance(serde.schemas, SchemaCache):
            found[serde.schemas.client.url] = serde.schemas.figures
    return tuple(found.values())


def resolve(topology: Topology) -> None:
    """Get, or register, the schemas that the program writes its topics with.

    Raises Retryable while a registry does not answer, TopologyError for a schema that cannot be used.
    """
    for serde in topic_serdes(topology.sinks):
        if serde.subject is not None:
            serde.resolve()


def resolve_when_up(topology: Topology, clock: Clock, stopping: Callable[[], bool]) -> bool:
    """Do the same as soon as the registries answer; return False if a stop was requested before.

    There is no limit to the wait: without the schemas nothing can be written, and nothing has been read yet.
    """
    reminder = Reminder(REMIND_MS)
    while True:
        try:
            resolve(topology)
            return True
        except Retryable as failure:
            if reminder.due(clock.monotonic()):
                LOG.warning("%s. The program starts once it does: it cannot write without its schemas", failure)
        if stopping():
            return False
        clock.sleep(PAUSE_MS)
