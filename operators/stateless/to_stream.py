"""The step from a table to the stream of its rows."""

from __future__ import annotations

from ..building.specs import StepContext, StepSpec
from ..building.stream_reference import StreamReference
from ..graph.operator import Operator
from .stateless import Merge, TableToStream

__all__ = ["rows_of"]


def rows_of(reference: StreamReference) -> StreamReference:
    """Add a step that sends the current rows of a table."""

    def operator(context: StepContext) -> Operator:
        return TableToStream() if context.updates_in else Merge()

    return reference.add(StepSpec(kind="to_stream", operator=operator, calls=False, passes_on=True, relays=True))
