"""The steps of `history=` and `as_of=True`: versioned tables and temporal joins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.specs import StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference, add_keyed, check_function, copartitioned
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stores.schema import shape, word
from ..stores.versions import Versions, versions_codec, versions_view
from ..time.durations import Duration, parse_duration
from .steps import check_how
from .table_join import How
from .temporal_join import BufferedKey, TemporalJoin, VersionedRows, buffered_codec

__all__ = ["temporal_join", "versioned_rows"]

EVERY_VERSION = "every version"
"""The side output of a versioned table with each version it stores, in order of arrival."""

WAITING = StoreView(
    visible=lambda slot: False,
    rows=lambda slot, entry: (StoreRow(slot.key, entry[0], slot.time),) if slot.__class__ is BufferedKey else (),
)


def versioned_rows(grouping: Grouping, history: Duration, *, name: str | None = None) -> StreamReference:
    """Add a versioned table; `name` is the name of the step unless the user gives it one."""
    reach = parse_duration(history, "history", at_least=1)
    reference = grouping.through()
    key, value = reference.key_serde(), reference.value or auto

    def operator(context: StepContext) -> Operator:
        return VersionedRows(
            context.name,
            Versions(context.cache, key.encode, reach, watermarked=context.watermarked),
            updates=context.updates_out,
            every_version=bool(context.sides),
        )

    spec = StepSpec(
        kind="table",
        operator=operator,
        stores=(_history(key, value, reach),),
        calls=False,
        passes_on=True,
        keeps=(value,),
        default_name=name,
    )
    return replace(grouping.add(spec), history=reach)


def _history(key: Serde[Any], value: Serde[Any], reach: int, suffix: str = "") -> StepStore:
    """Return the specification of a store of row versions."""
    return StepStore(
        codec=versions_codec(key, value),
        view=versions_view(key, reach, watermarked=False),
        watermarked_view=versions_view(key, reach, watermarked=True),
        shape=shape("history", key, word(value)),
        suffix=suffix,
    )


def temporal_join(
    stream: StreamReference,
    table: StreamReference,
    function: Callable[[Any, Any], Any],
    *,
    how: How,
    grace: Duration,
    value: Serde[Any] | None,
) -> StreamReference:
    """Join a stream with a table as it was at each record's time.

    Raises TopologyError for a table without a history, or with a history shorter than the grace.
    """
    check_function(function, ".join()")
    history = table.history
    if history is None:
        raise TopologyError(
            ".join(as_of=True) needs a table with a history: app.table(topic, history='1h') or "
            "stream.to_table(history='1h'). The result of filter, map or an aggregation has no history"
        )
    check_how(how, "inner", "left")
    wait = parse_duration(grace, "grace")
    if wait > history:
        raise TopologyError(
            f".join(as_of=True): records would wait {wait} ms, but the table has a history of {history} ms: make the "
            "history at least as long as the grace"
        )
    sides = table.step.sides
    if EVERY_VERSION not in sides:
        sides.append(EVERY_VERSION)
    versions_flow = replace(table, port=sides.index(EVERY_VERSION) + 1)

    groupings = Grouping(versions_flow), Grouping(stream, null_keys=how == "left")
    rows, records = copartitioned(groupings, "join")
    key, row_serde, value_serde = rows.key_serde(), rows.value or auto, records.value or auto

    def operator(context: StepContext) -> Operator:
        watermarked = context.watermarked
        kept = Versions(context.caches["versions"], key.encode, history, watermarked=watermarked)
        waiting = context.caches["waiting"] if wait else None
        return TemporalJoin(
            context.name, kept, function, waiting, left=how == "left", grace=wait, watermarked=watermarked
        )

    versions = _history(key, row_serde, history, "versions")
    buffer = StepStore(
        codec=buffered_codec(key, value_serde),
        view=WAITING,
        shape=shape("waiting", key, word(value_serde)),
        suffix="waiting",
    )
    spec = StepSpec(
        kind="join",
        operator=operator,
        stores=(versions, buffer) if wait else (versions,),
        tagged=True,
        keeps=(row_serde, value_serde if wait else None),
        in_order=True,
        behind=wait,
        sends_by="time" if wait else "records",
    )
    return replace(
        add_keyed(groupings, spec, ("table", "")),
        value=check_serde(value, ".join(value=): ") or result_serde(function),
    )
