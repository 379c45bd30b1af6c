"""From a table's methods to steps: groups of rows, and joins of tables by their keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..state.cache import Codec, StateCache
from .draft import Settled
from .entries import guarded, keyed_codec, keyed_view
from .errors import TopologyError
from .flow import Flow, Grouping, check_function, keyed, keyed_step, plain_step, rows_of
from .fold import Fold, aggregating, counting, reducing
from .foreign_key_steps import join_by_foreign_key
from .inference import result_serde
from .record import Windowed
from .serde import Serde, check_serde
from .serde_auto import auto, auto_key
from .serde_hashable import check_key_serde
from .shapes import of_fold, shape, word
from .table_group import GroupFold, Regroup, group_loop, undoable_columns
from .table_join import How, TableJoin, joined_codec, joined_view, joined_with
from .topology import Caches, Node, Operator, OperatorState
from .updates import UpdateSerde
from .windowed_table_join import WindowedTableJoin, windowed_joined_codec

__all__ = ["group_aggregation", "group_fold", "group_reduction", "grouped_rows", "group_counting", "joined_tables"]

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


def joined_tables(left: Flow, right: Flow, functions: tuple[Any, ...], options: dict[str, Any], how: How) -> Flow:
    """Two tables joined, as a method was asked to: (function), (on, function), or either by keyword."""
    method = "join" if how == "inner" else f"{how}_join"
    names = ("function",) if len(functions) < 2 else ("on", "function")
    given = {**dict(zip(names, functions, strict=False)), **options}
    if len(functions) > 2 or "function" not in given or not given.keys() <= {"function", "on", "value"}:
        raise TopologyError(
            f".{method}() takes a table and a function of both rows, on= for a foreign key, and value= for a serde"
        )
    if given.get("on") is None:
        return _join_by_key(left, right, given["function"], how, given.get("value"))
    return join_by_foreign_key(
        left, right, given["on"], given["function"], outer=how == "left", value=given.get("value")
    )


def _join_by_key(left: Flow, right: Flow, function: Function, how: How, value: Serde[Any] | None) -> Flow:
    """Two tables joined by their keys."""
    check_function(function, f".{'join' if how == 'inner' else f'{how}_join'}()")
    joined = joined_with(how, function)
    windows = left.window

    def make(flows: tuple[Flow, ...]) -> Callable[[Settled], Node]:
        def node(settled: Settled) -> Node:
            left_row, right_row = (flow.value or auto for flow in flows)
            if windows is None:
                codec, view = joined_codec(flows[0].key_serde(), left_row, right_row), joined_view(joined)
            else:
                codec = windowed_joined_codec(flows[0].key or auto_key, left_row, right_row)
                view = joined_view(joined, lambda slot: isinstance(slot, Windowed))
            words = shape("join", flows[0].key_serde(), f"{word(left_row)} and {word(right_row)}")
            state = OperatorState(settled.spec(), guarded(codec, settled.name), view, words)

            def build(caches: Caches) -> Operator:
                cache, updates = caches[settled.name], settled.updates_out
                if windows is None:
                    return TableJoin(settled.name, cache, how, joined, updates=updates)
                watermarked = settled.watermark is not None
                return WindowedTableJoin(
                    settled.name, cache, how, joined, windows, updates=updates, watermarked=watermarked
                )

            return Node(
                settled.id,
                settled.name,
                "join",
                settled.inputs,
                build=build,
                stores=(state,),
                keyed=True,
                tagged=True,
                keeps=(left_row, right_row),
            )

        return node

    flow = keyed((Grouping(rows_of(left)), Grouping(rows_of(right))), "join", make, roles=("left", "right"))
    return replace(flow, value=check_serde(value, "join(value=): ") or result_serde(function))
