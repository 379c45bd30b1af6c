"""The steps of `.join()` between streams, and of streams with tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

from ..building.specs import SourceSpec, StepContext, StepSpec, StepStore
from ..building.step import StepDefinition
from ..building.stored_rows import stored_rows
from ..building.stream_reference import Grouping, StreamReference, add_keyed, check_function, copartitioned
from ..building.topology_builder import TopologyBuilder
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.topology import check_name
from ..schemas.serde import in_topic
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde, raw
from ..serdes.hashable import check_key_serde
from ..serdes.inference import result_serde
from ..stateless.to_stream import rows_of
from ..stores.entries import keyed_codec, keyed_view, serde_entry
from ..stores.loading import serde_loading
from ..stores.schema import shape, word
from ..time.durations import Duration
from ..time.event_time import TimeFunction, check_time_function
from ..time.join_windows import Within, join_window
from .join_window_store import join_window_codec, join_window_view
from .lookup_join import LookupJoin
from .outer_join_buffer import OuterJoinBuffer, outer_join_codec, outer_join_view
from .stream_join import StreamJoin
from .stream_table_join import StreamTableJoin
from .table_join import How

__all__ = ["check_how", "global_source", "join_global", "join_streams", "join_table", "refuse_options"]


def join_streams(
    left: StreamReference,
    right: StreamReference,
    function: Callable[[Any, Any], Any],
    within: Within | None,
    grace: Duration,
    how: How,
    value: Serde[Any] | None,
) -> StreamReference:
    """Join records of two streams with the same key whose timestamps are close to each other."""
    check_function(function, ".join()")
    check_how(how, "inner", "left", "outer")
    if within is None:
        raise TopologyError(
            ".join() of two streams needs within=, such as within='5m': the maximum time between two records"
        )
    window = join_window(within, grace)
    serde = check_serde(value, ".join(value=): ") or result_serde(function)
    here = Grouping(left, null_keys=how != "inner")
    there = here if left == right else Grouping(right, null_keys=how == "outer")
    groupings = here, there
    flows = copartitioned(groupings, "join")
    key, values = flows[0].key_serde(), (flows[0].value or auto, flows[1].value or auto)
    sides = [
        StepStore(
            codec=join_window_codec(key, side),
            view=join_window_view(),
            shape=shape("side", key, word(side)),
            suffix=name,
        )
        for name, side in zip(("left", "right"), values, strict=True)
    ]
    outer_join_buffer = StepStore(
        codec=outer_join_codec(key, *values),
        view=outer_join_view(),
        shape=shape("unmatched", key, " and ".join(map(word, values))),
        suffix="unmatched",
    )

    def operator(context: StepContext) -> Operator:
        caches = context.caches
        waiting = None if how == "inner" else OuterJoinBuffer(caches["unmatched"], outer_join_buffer.codec.encode_key)
        kept = caches["left"], caches["right"]
        return StreamJoin(context.name, kept, waiting, window, function, how, watermarked=context.watermarked)

    spec = StepSpec(
        kind="join",
        operator=operator,
        stores=tuple(sides) if how == "inner" else (*sides, outer_join_buffer),
        tagged=True,
        keeps=values,
        disorder=window.grace,
        behind=0 if how == "inner" else max(window.before, window.after) + window.grace + 1,
        sends_by="records" if how == "inner" else "time",
    )
    return replace(add_keyed(groupings, spec, ("left", "right")), value=serde)


def join_table(
    stream: StreamReference,
    table: StreamReference,
    function: Callable[[Any, Any], Any],
    how: str,
    value: Serde[Any] | None,
) -> StreamReference:
    """Join each record of a stream with the current row of its key in a table.

    The step stores the rows itself unless it can read them where they are.
    """
    check_function(function, ".join()")
    check_how(how, "inner", "left")
    serde = check_serde(value, ".join(value=): ") or result_serde(function)
    left = how == "left"
    groupings = Grouping(rows_of(table)), Grouping(stream, null_keys=left)
    rows, records = copartitioned(groupings, "join")
    kept = stored_rows(table, records)
    if kept is not None:
        spec = _reading(kept, function, left=left)
        return replace(add_keyed(groupings, spec, ("table", ""), reads=(kept,)), value=serde)
    key, row = rows.key_serde(), rows.value or auto

    def operator(context: StepContext) -> Operator:
        return StreamTableJoin(context.name, context.cache, function, left=left)

    store = StepStore(
        codec=keyed_codec(key, *serde_entry(row)),
        view=keyed_view(itemgetter(1), serde_loading(key, row)),
        shape=shape("rows", key, word(row)),
        value=row,
    )
    spec = StepSpec(kind="join", operator=operator, stores=(store,), tagged=True, keeps=(row, None), in_order=True)
    return replace(add_keyed(groupings, spec, ("table", "")), value=serde)


def _reading(table: StepDefinition, function: Callable[[Any, Any], Any], *, left: bool) -> StepSpec:
    """Return the specification of a join that reads the rows in the store of the table's step."""
    row_of = table.spec.row_of
    assert row_of is not None

    def operator(context: StepContext) -> Operator:
        return LookupJoin(context.name, context.rows[0], row_of, None, function, left=left)

    return StepSpec(kind="join", operator=operator, passive=(True, False), in_order=True, spared="")


def refuse_options(what: str, **options: object) -> None:
    """Raise TopologyError if an option is given that does not apply."""
    for name, value in options.items():
        if value is not None:
            raise TopologyError(f"{what} takes no {name}=")


def global_source(
    builder: TopologyBuilder,
    topic: object,
    key: Serde[Any] | None,
    value: Serde[Any] | None,
    timestamp: TimeFunction | None,
) -> StreamReference:
    """Add a topic that every process reads completely, into a store with the topic's name."""
    if not isinstance(topic, str):
        raise TopologyError(f"app.global_table() reads one topic, not {topic!r}")
    check_name(topic, "topic")
    if timestamp is not None:
        check_time_function(timestamp, f"the global table {topic!r}: timestamp=")
    key_serde = check_key_serde(key, f"the key of global table {topic!r}: ") or raw
    value_serde = check_serde(value, f"the value of global table {topic!r}: ") or raw
    store = StepStore(
        codec=keyed_codec(key_serde, *serde_entry(value_serde)),
        view=keyed_view(itemgetter(1)),
        shape="",
        changelog=False,
    )
    spec = SourceSpec(
        kind="global table",
        stores=(store,),
        topics=(topic,),
        key=in_topic(key_serde, topic, "key"),
        value=in_topic(value_serde, topic, "value"),
        timestamp=timestamp,
        broadcast=True,
        default_name=topic,
    )
    return StreamReference(builder, builder.add(spec), key=key_serde, value=value_serde)


def join_global(
    stream: StreamReference,
    table: StreamReference,
    function: Callable[[Any, Any], Any],
    on: Callable[[Any], Any] | None,
    how: str,
    value: Serde[Any] | None,
) -> StreamReference:
    """Join records of a stream with rows of a global table."""
    check_function(function, ".join()")
    check_how(how, "inner", "left")
    if on is not None:
        check_function(on, ".join(on=)")
    if stream.builder is not table.builder:
        raise TopologyError("a join: its inputs belong to different apps")
    serde = check_serde(value, ".join(value=): ") or result_serde(function)

    def operator(context: StepContext) -> Operator:
        return LookupJoin(context.name, context.rows[0], itemgetter(1), on, function, left=how == "left")

    return replace(stream.add(StepSpec(kind="join", operator=operator), reads=(table.step,)), value=serde)


def check_how(how: object, *known: str) -> None:
    """Raise TopologyError unless `how` is one of the known values."""
    if how not in known:
        raise TopologyError(f".join(how=) takes {', '.join(map(repr, known))} here, not {how!r}")
