"""The steps of a table's methods: groups of rows, suppression, and rows from a topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

from ..aggregates.fold import Fold, aggregating, counting, reducing
from ..aggregates.keyed import TableRows
from ..aggregates.steps import fold
from ..building.specs import StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference, check_function
from ..errors import TopologyError
from ..graph.operator import Operator
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, check_serde
from ..serdes.hashable import check_key_serde
from ..serdes.inference import result_serde
from ..serdes.updates import UpdateSerde
from ..stores.entries import keyed_codec, keyed_view, serde_entry
from ..stores.loading import serde_loading
from ..stores.schema import shape, word
from ..time.durations import Duration, parse_duration
from ..time.windows import length_of
from .suppress import Suppress, SuppressBounds, suppress_codec, suppress_view
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
    reference: StreamReference, by: Function, of: Function | None, key: Serde[Any] | None, value: Serde[Any] | None
) -> Grouping:
    """Add a step that sends the rows of a table to their groups."""
    check_function(by, ".group_by()")
    if of is not None:
        check_function(of, ".group_by(of=)")
    elif value is not None:
        raise TopologyError(".group_by(value=) is the serde of the results of of=, and there is no of=")
    group = check_key_serde(key, ".group_by(key=): ")
    row = reference.value if of is None else check_serde(value, ".group_by(value=): ") or result_serde(of)
    encode = (group or auto_key).encode
    spec = StepSpec(kind="group_by", operator=lambda context: Regroup(context.name, by, of, encode), asks="old")
    grouped = replace(reference.add(spec), key=group, value=UpdateSerde(row or auto), window=None, rekeyed=True)
    return Grouping(grouped)


def row_serde(grouping: Grouping) -> Serde[Any] | None:
    """Return the serde of a group's rows, None if unknown."""
    updates = grouping.reference.value
    row = updates.row if isinstance(updates, UpdateSerde) else None
    return None if row is auto else row


def group_counting() -> Fold:
    """Return the fold that counts rows."""
    return counting(auto)


def group_reduction(
    adder: Function, subtractor: Function, grouping: Grouping, value: Serde[Any] | None
) -> tuple[Fold, Serde[Any] | None]:
    """Return the fold and serde of a `reduce`, from its arguments."""
    check_function(adder, ".reduce()")
    check_function(subtractor, ".reduce(), to subtract the value that a row had,")
    serde = check_serde(value, ".reduce(value=): ") or row_serde(grouping)
    return reducing(adder, serde or auto, subtractor), serde


def group_aggregation(arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
    """Return the fold and serde of an `aggregate`, from its arguments."""
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
            "an adder and a subtractor, which removes the value that a row had"
        )
    initial, adder, subtractor = arguments
    check_function(adder, ".aggregate()")
    check_function(subtractor, ".aggregate(), to subtract the value that a row had,")
    serde = check_serde(value, ".aggregate(value=): ") or result_serde(adder)
    return aggregating(initial, adder, serde or auto, subtractor), serde


def group_fold(
    grouping: Grouping, kind: str, folding: Fold, value: Serde[Any] | None, *, on_commit: bool
) -> StreamReference:
    """Add a fold per group."""
    return fold(grouping, kind, folding, value, make_loop=group_loop, operator_class=GroupFold, on_commit=on_commit)


def suppression(
    reference: StreamReference, until: Duration, max_records: int | None, max_bytes: int | None
) -> StreamReference:
    """Add a step that holds changes of rows back."""
    for bound, name in ((max_records, "max_records"), (max_bytes, "max_bytes")):
        if bound is not None and (type(bound) is not int or bound < 1):
            raise TopologyError(f".suppress({name}=) takes a number of at least 1, not {bound!r}")
    length = 0
    if until == "close":
        if reference.window is None:
            raise TopologyError(
                ".suppress(until='close') is for tables with windows, and this one has none: give a time, such as "
                "until='10s'"
            )
        if max_records is not None or max_bytes is not None:
            raise TopologyError(
                ".suppress(until='close') cannot be bounded: a row that is sent early is not the final result"
            )
        bounds = SuppressBounds(reference.window.close(0), windows=True)
        length = length_of(reference.window)
    else:
        limit = parse_duration(until, ".suppress(until=)")
        bounds = SuppressBounds(limit, windows=False, max_records=max_records, max_bytes=max_bytes)
    key, value = reference.key_serde(), reference.value or auto

    def size(row_key: Any, row: Any) -> int:
        return len(key.encode(row_key)) + (0 if row is None else len(value.encode(row)))

    def operator(context: StepContext) -> Operator:
        return Suppress(
            context.name,
            context.cache,
            bounds,
            None if max_bytes is None else size,
            updates_in=context.updates_in,
            updates_out=context.updates_out,
            watermarked=context.watermarked,
        )

    store = StepStore(codec=suppress_codec(key, value), view=suppress_view(), shape=shape("suppress", key, word(value)))
    spec = StepSpec(
        kind="suppress",
        operator=operator,
        stores=(store,),
        asks="same",
        calls=False,
        passes_on=True,
        behind=length + bounds.limit,
        sends_by="time",
        keeps=(value,),
    )
    return Grouping(reference).add(spec)


def table_rows(grouping: Grouping, *, name: str | None = None) -> StreamReference:
    """Add a table of the newest value per key; `name` is its name unless the user gives one."""

    def operator(context: StepContext) -> Operator:
        return TableRows(context.name, context.cache, updates=context.updates_out)

    reference = grouping.through()
    key, value = reference.key_serde(), reference.value or auto
    store = StepStore(
        codec=keyed_codec(key, *serde_entry(value)),
        view=keyed_view(itemgetter(1), serde_loading(key, value)),
        shape=shape("table", key, word(value)),
        value=value,
    )
    return grouping.add(
        StepSpec(
            kind="table",
            operator=operator,
            stores=(store,),
            calls=False,
            passes_on=True,
            keeps=(value,),
            default_name=name,
            row_of=itemgetter(1),
        )
    )
