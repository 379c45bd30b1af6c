"""The topology of a Faust application: its topics, one step with all agents, and a sink.

Faust puts partition N of each table with partition N of each topic. So there is one step, and its task N has all of
these.
"""

from __future__ import annotations

from collections.abc import Collection

from ...operators.building.sources import source
from ...operators.building.specs import SinkSpec, StepContext, StepSpec, StepStore
from ...operators.building.topology_builder import TopologyBuilder
from ...operators.graph.topology import StoreView, Topology
from ...operators.serdes.base import raw
from ..errors import TopologyError
from .host import FaustHost
from .operator import AgentsOperator, SentWriter, events_codec, rows_codec
from .tasks.rows import IMPORTED
from .tasks.store_names import EVENTS, STEP, rows_suffix

__all__ = ["faust_topology"]


def faust_topology(host: FaustHost, topics: Collection[str], tables: Collection[str], start: str) -> Topology:
    """Return the topology for the topics that are read, from `start` in a new application.

    Raises TopologyError if nothing is read, or a name of a table cannot be that of a store.
    """
    if not topics:
        raise TopologyError("the Faust application reads no topic: it has no agent, or its agents read channels only")
    builder = TopologyBuilder()
    names = sorted(topics)
    first, *others = [source(builder, name, raw, raw, None, start, "partition_time", suffix="") for name in names]

    def operator(context: StepContext) -> AgentsOperator:
        caches = {name: context.caches[rows_suffix(name)] for name in tables}
        return AgentsOperator(host, names, context.caches[EVENTS], caches)

    stores = [StepStore(codec=events_codec(), shape="waiting events", suffix=EVENTS, view=hidden())]
    stores += [
        StepStore(
            codec=rows_codec(),
            shape="Faust table",
            suffix=rows_suffix(name),
            view=rows_view(),
            begins_with=host.changelog_of(name),
        )
        for name in sorted(tables)
    ]
    spec = StepSpec(
        kind="faust", operator=operator, stores=tuple(stores), tagged=True, asynchronous=True, default_name=STEP
    )
    sent = first.add(spec, *others)
    sent.add(SinkSpec(operator=lambda context: SentWriter(), topic=topic_of, default_name="sent"))
    return builder.topology()


def topic_of(record: object) -> str:
    """Return the topic of a sent record."""
    return getattr(getattr(record, "value", None), "topic", "")


def rows_view() -> StoreView:
    """Return the view of a table: its rows, and not how far they were taken over."""
    return StoreView(visible=lambda key: key != IMPORTED)


def hidden() -> StoreView:
    """Return the view of a store that queries do not see."""
    return StoreView(visible=lambda _number: False)
