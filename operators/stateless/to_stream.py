"""From a table to the stream of its rows."""

from __future__ import annotations

from ..building.draft import Settled
from ..building.flow import Flow, plain_step
from ..graph.operator import Operator
from .stateless import Merge, NewValues

__all__ = ["rows_of"]


def rows_of(flow: Flow) -> Flow:
    """A table's rows as they are now."""

    def build(settled: Settled) -> Operator:
        return NewValues() if settled.updates_in else Merge()

    return flow.to(plain_step(flow, "to_stream", build))
