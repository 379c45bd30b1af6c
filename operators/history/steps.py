"""The steps of `app.stream(history=)`: the topic of pieces, and the step that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..building.specs import RepartitionSpec, SourceSpec, StepContext
from ..building.stream_reference import StreamReference
from ..errors import TopologyError
from ..graph.codecs import Encoder
from ..graph.history import History, HistoryInput, SourceHistory, Until
from ..graph.operator import Operator
from ..serdes.base import raw
from .history_writer import HistoryWriter

__all__ = ["read_history"]


def read_history(source: StreamReference, name: str, history: History, until: Any) -> None:
    """Have a source read a history before its topic. Raises TopologyError."""
    builder, spec = source.builder, source.step.spec
    assert isinstance(spec, SourceSpec)
    if len(spec.topics) != 1 or spec.pattern is not None:
        raise TopologyError(f"the source {name!r}: history= is for one topic: give each topic a stream of its own")
    assert spec.key is not None
    assert spec.value is not None
    given = HistoryInput(name, spec.topics[0], spec.key, spec.value, spec.timestamp is not None)
    encoder = Encoder(spec.key, spec.value)

    def operator(context: StepContext) -> Operator:
        return HistoryWriter(context.name, history, given, encoder)

    def no_writer(context: StepContext) -> Operator:
        raise AssertionError(f"{context.name!r} is written at the start")

    pieces = builder.add(RepartitionSpec(operator=no_writer, key=raw, value=raw, partitions=1, calls=False))
    builder.rename(pieces, f"{name}-history-pieces")
    writer = builder.add(
        RepartitionSpec(
            operator=operator,
            key=spec.key,
            value=spec.value,
            calls=False,
            history=SourceHistory(source.step.id, history, checked_until(until, name), given),
        ),
        [StreamReference(builder, pieces).input],
    )
    builder.rename(writer, f"{name}-history")


def checked_until(until: Any, source: str) -> Until:
    """Return where a history ends. Raises TopologyError for a value of another type."""
    if until is None:
        return None
    if isinstance(until, datetime):
        if until.tzinfo is None:
            raise TopologyError(f"the source {source!r}: until={until!r} has no time zone")
        return until
    if isinstance(until, Mapping):
        offsets: dict[Any, Any] = dict(until)  # pyright: ignore[reportUnknownArgumentType]
        if all(type(n) is int and n >= 0 for pair in offsets.items() for n in pair):
            return offsets
    raise TopologyError(
        f"the source {source!r}: until={until!r} is neither an aware datetime nor offsets by partition, such as "
        "{0: 1200, 1: 1187}"
    )
