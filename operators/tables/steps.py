"""From a table's methods to steps: groups of rows, and joins of tables by their keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

from ...state.cache import Codec, StateCache
from ..aggregates.fold import Fold, aggregating, counting, of_fold, reducing
from ..aggregates.keyed import TableRows
from ..building.draft import Settled
from ..building.flow import Flow, Grouping, check_function, keyed_step, plain_step
from ..errors import TopologyError
from ..graph.operator import Operator
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, check_serde
from ..serdes.hashable import check_key_serde
from ..serdes.inference import result_serde
from ..serdes.updates import UpdateSerde
from ..stores.entries import keyed_codec, keyed_view, serde_entry
from ..stores.schema import word
from ..time.durations import Duration, parse_duration
from ..time.windows import length_of
from .suppress import Bounds, Suppress, suppress_codec, suppress_view
from .table_group import GroupFold, Regroup, group_loop, undoable_columns

__all__ = [
    "group_aggregation",
    "group_counting",
    "group_fold",
    "group_reduction",
    "grouped_rows",
    "suppression",
    "table_rows",
]

Function = Callable[..., Any]


def grouped_rows(
    flow: Flow, by: Function, of: Function | None, key: Serde[Any] | None, value: Serde[Any] | None
) -> Grouping:
    """The rows of a table on their way to the groups that they are in."""
    check_function(by, ".group_by()")
    if of is not None:
        check_function(of, ".group_by(of=)")
    elif value is not None:
        raise TopologyError(".group_by(value=) is the serde of what of= gives, and there is no of=")
    group = check_key_serde(key, ".group_by(key=): ")
    row = flow.value if of is None else check_serde(value, ".group_by(value=): ") or result_serde(of)
    encode = (group or auto_key).encode
    step = plain_step(flow, "group_by", lambda settled: Regroup(settled.name, by, of, encode), asks="old")
    grouped = replace(flow.to(step), key=group, value=UpdateSerde(row or auto), window=None, rekeyed=True)
    return Grouping(grouped)


def row_serde(grouping: Grouping) -> Serde[Any] | None:
    """The serde of a group's rows, None when it is not known."""
    updates = grouping.flow.value
    row = updates.row if isinstance(updates, UpdateSerde) else None
    return None if row is auto else row


def group_counting() -> Fold:
    """How many rows there are."""
    return counting(auto)


def group_reduction(
    adder: Function, subtractor: Function, grouping: Grouping, value: Serde[Any] | None
) -> tuple[Fold, Serde[Any] | None]:
    """The fold and serde of a `reduce`, from its arguments."""
    check_function(adder, ".reduce()")
    check_function(subtractor, ".reduce(), to take back the value that a row had,")
    serde = check_serde(value, ".reduce(value=): ") or row_serde(grouping)
    return reducing(adder, serde or auto, subtractor), serde


def group_aggregation(arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
    """The fold and serde of an `aggregate`, from its arguments."""
    if not arguments:
        if not columns:
            raise TopologyError(
                ".aggregate() takes columns such as count=tm.count(), or an initial value, an adder and a subtractor"
            )
        return undoable_columns(columns), None
    value = columns.pop("value", None)
    if len(arguments) != 3 or columns:
        raise TopologyError(
            ".aggregate() of the rows of a table takes either columns such as count=tm.count(), or an initial value, "
            "an adder and a subtractor, which takes back the value that a row had"
        )
    initial, adder, subtractor = arguments
    check_function(adder, ".aggregate()")
    check_function(subtractor, ".aggregate(), to take back the value that a row had,")
    serde = check_serde(value, ".aggregate(value=): ") or result_serde(adder)
    return aggregating(initial, adder, serde or auto, subtractor), serde


def group_fold(grouping: Grouping, kind: str, folding: Fold, value: Serde[Any] | None) -> Flow:
    """A fold a group."""

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        loop = group_loop(folding, updates=settled.updates_out)
        return lambda cache: GroupFold(settled.name, cache, loop)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return keyed_codec(flow.key_serde(), folding.keep, folding.restore)

    view, kept = keyed_view(folding.shown()), of_fold(folding, value)
    flow = keyed_step(grouping, kind, codec, view, build, holds=folding.holds, kept=kept, gives=value or auto)
    return replace(flow, value=value)


def suppression(flow: Flow, until: Duration, max_records: int | None, max_bytes: int | None) -> Flow:
    """Holds rows of a table back."""
    for bound, name in ((max_records, "max_records"), (max_bytes, "max_bytes")):
        if bound is not None and (type(bound) is not int or bound < 1):
            raise TopologyError(f".suppress({name}=) takes a number of at least 1, not {bound!r}")
    length = 0
    if until == "close":
        if flow.window is None:
            raise TopologyError(
                ".suppress(until='close') is for tables with windows, and this one has none: give a time, such as "
                "until='10s'"
            )
        if max_records is not None or max_bytes is not None:
            raise TopologyError(
                ".suppress(until='close') cannot be bounded: what is sent early is not a window's last result"
            )
        bounds = Bounds(flow.window.close(0), windows=True)
        length = length_of(flow.window)
    else:
        limit = parse_duration(until, ".suppress(until=)")
        bounds = Bounds(limit, windows=False, max_records=max_records, max_bytes=max_bytes)
    key, value = flow.key_serde(), flow.value or auto

    def size(row_key: Any, row: Any) -> int:
        return len(key.encode(row_key)) + (0 if row is None else len(value.encode(row)))

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        def operator(cache: StateCache[Any, Any]) -> Operator:
            return Suppress(
                settled.name,
                cache,
                bounds,
                None if max_bytes is None else size,
                updates_in=settled.updates_in,
                updates_out=settled.updates_out,
                watermarked=settled.watermark is not None,
            )

        return operator

    def codec(_flow: Flow) -> Codec[Any, Any]:
        return suppress_codec(key, value)

    behind = length + bounds.limit
    return keyed_step(
        Grouping(flow),
        "suppress",
        codec,
        suppress_view(),
        build,
        asks="same",
        behind=behind,
        kept=word(value),
        keeps=value,
    )


def table_rows(grouping: Grouping, *, name: str | None = None) -> Flow:
    """The newest value a key."""

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        return lambda cache: TableRows(settled.name, cache, updates=settled.updates_out)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return keyed_codec(flow.key_serde(), *serde_entry(flow.value or auto))

    value = grouping.flow.value or auto
    flow = keyed_step(grouping, "table", codec, keyed_view(itemgetter(1)), build, kept=word(value), keeps=value)
    flow.step.default = name
    return flow
