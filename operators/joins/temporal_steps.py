"""From `history=` and `as_of=True` to steps: tables that remember what they were, and joins with what they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.draft import Settled
from ..building.flow import Flow, Grouping, check_function, keyed
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, OperatorState, StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stores.entries import guarded
from ..stores.schema import shape, word
from ..stores.versions import Versions, versions_codec, versions_view
from ..time.durations import Duration, parse_duration
from .steps import check_how
from .table_join import How
from .temporal_join import TemporalJoin, VersionedRows, waiting_codec

__all__ = ["temporal_join", "versioned_rows"]

EVERY_VERSION = "every version"
"""The side output of a table with a history that has each version it keeps, in order of arrival."""

HIDDEN = StoreView(visible=lambda key: False)


def versioned_rows(grouping: Grouping, history: Duration, *, name: str | None = None) -> Flow:
    """A table that remembers its rows."""
    reach = parse_duration(history, "history", at_least=1)

    def make(flow: Flow) -> Callable[[Settled], Node]:
        key, value = flow.key_serde(), flow.value or auto
        words = shape("history", key, word(value))

        def node(settled: Settled) -> Node:
            codec, watermarked = guarded(versions_codec(key, value), settled.name), settled.watermark is not None

            def build(caches: Caches) -> Operator:
                cache = caches[settled.name]
                return VersionedRows(
                    settled.name,
                    Versions(cache, key.encode, reach, watermarked=watermarked),
                    updates=settled.updates_out,
                    every_version=bool(settled.sides),
                )

            return Node(
                settled.id,
                settled.name,
                "table",
                settled.inputs,
                build=build,
                ports=("", *settled.sides),
                stores=(
                    OperatorState(settled.spec(), codec, versions_view(key, reach, watermarked=watermarked), words),
                ),
                keyed=True,
                keeps=(value,),
            )

        return node

    flow = grouping.add("table", make)
    flow.step.default = name
    return replace(flow, history=reach)


def temporal_join(
    stream: Flow,
    table: Flow,
    function: Callable[[Any, Any], Any],
    *,
    how: How,
    grace: Duration,
    value: Serde[Any] | None,
) -> Flow:
    """A stream joined with a table as it was at each record's time.

    Raises TopologyError for a table without a history, or one that does not go back as far as the grace.
    """
    check_function(function, ".join()")
    history = table.history
    if history is None:
        raise TopologyError(
            ".join(as_of=True) needs a table that remembers what it was: app.table(topic, history='1h') or "
            "stream.to_table(history='1h'). What filter, map and aggregations make of a table has no history"
        )
    check_how(how, "inner", "left")
    wait = parse_duration(grace, "grace")
    if wait > history:
        raise TopologyError(
            f".join(as_of=True): records would wait for {wait} ms, but the table remembers {history} ms: make its "
            "history at least as long as the grace"
        )
    sides = table.step.sides
    if EVERY_VERSION not in sides:
        sides.append(EVERY_VERSION)
    versions_flow = replace(table, port=sides.index(EVERY_VERSION) + 1)

    def make(flows: tuple[Flow, ...]) -> Callable[[Settled], Node]:
        key, row_serde, value_serde = flows[0].key_serde(), flows[0].value or auto, flows[1].value or auto

        def node(settled: Settled) -> Node:
            versions, buffer = settled.spec("versions"), settled.spec("waiting")
            watermarked = settled.watermark is not None
            stores = [
                OperatorState(
                    versions,
                    guarded(versions_codec(key, row_serde), versions.name),
                    versions_view(key, history, watermarked=watermarked),
                    shape("history", key, word(row_serde)),
                )
            ]
            if wait:
                words = shape("waiting", key, word(value_serde))
                stores.append(
                    OperatorState(buffer, guarded(waiting_codec(key, value_serde), buffer.name), HIDDEN, words)
                )

            def build(caches: Caches) -> Operator:
                cache = caches[versions.name]
                kept = Versions(cache, key.encode, history, watermarked=watermarked)
                waiting = caches[buffer.name] if wait else None
                return TemporalJoin(
                    settled.name, kept, function, waiting, left=how == "left", grace=wait, watermarked=watermarked
                )

            return Node(
                settled.id,
                settled.name,
                "join",
                settled.inputs,
                build=build,
                stores=tuple(stores),
                keyed=True,
                tagged=True,
                keeps=(row_serde, value_serde if wait else None),
                in_order=True,
                behind=wait,
            )

        return node

    groupings = Grouping(versions_flow), Grouping(stream, null_keys=how == "left")
    return replace(
        keyed(groupings, "join", make, roles=("table", "")),
        value=check_serde(value, ".join(value=): ") or result_serde(function),
    )
