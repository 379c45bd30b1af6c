"""The named aggregators of `aggregate(count=count(), total=sum("amount"), ...)`, and their compilation.

An `Aggregator` says how one column of a row comes about: its state slots, how a value changes them, what they show. A
step's columns are compiled to one Python function, because a call a column and record is what would cost most. The
function computes everything before it returns the new state, so a value that fails leaves the state as it was.

None is no value: a field that is None is skipped by every aggregator but `count()`, as in SQL. NaN makes a sum or mean
NaN, and is skipped by `min` and `max` where there is a number. "First" and "last" mean in order of processing.
"""

from __future__ import annotations

import keyword
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from .errors import TopologyError
from .fold import Fold
from .serde_auto import auto
from .suggest import did_you_mean

__all__ = ["Aggregator", "collect", "compiled", "count", "first", "last", "max", "mean", "min", "sum"]

R = TypeVar("R", default=Any)

Field = str | Callable[[Any], Any] | None


@dataclass(frozen=True)
class Aggregator(Generic[R]):
    """One column. In the templates `{0}`, `{1}` are its state slots and `{x}` the field's value, which is not None."""

    kind: str
    field: Field
    start: tuple[str, ...]
    update: str
    result: str

    def __post_init__(self) -> None:
        if not (self.field is None or isinstance(self.field, str) or callable(self.field)):
            raise TopologyError(f"tm.{self.kind}: {self.field!r} is neither a field's name nor a function of the value")


def count(field: Field = None) -> Aggregator[int]:
    """How many records; with a field, how many in which it is not None."""
    return Aggregator("count", field, ("0",), "{0} += 1", "{0}")


def sum(field: Field) -> Aggregator[Any]:
    """The sum of a field; 0 as long as there is no value."""
    return Aggregator("sum", field, ("None",), "{0} = {x} if {0} is None else {0} + {x}", "0 if {0} is None else {0}")


def mean(field: Field) -> Aggregator[Any]:
    """The arithmetic mean of a field; None as long as there is no value."""
    return Aggregator(
        "mean", field, ("0", "None"), "{1} = {x} if {1} is None else {1} + {x}; {0} += 1", "{1} / {0} if {0} else None"
    )


def min(field: Field = None) -> Aggregator[Any]:
    """The least value; None as long as there is none."""
    return Aggregator("min", field, ("None",), "{0} = {x} if {0} is None or {x} < {0} or {0} != {0} else {0}", "{0}")


def max(field: Field = None) -> Aggregator[Any]:
    """The greatest value; None as long as there is none."""
    return Aggregator("max", field, ("None",), "{0} = {x} if {0} is None or {x} > {0} or {0} != {0} else {0}", "{0}")


def first(field: Field = None) -> Aggregator[Any]:
    """The value that was processed first."""
    return Aggregator("first", field, ("None",), "{0} = {x} if {0} is None else {0}", "{0}")


def last(field: Field = None) -> Aggregator[Any]:
    """The value that was processed last."""
    return Aggregator("last", field, ("None",), "{0} = {x}", "{0}")


def collect(field: Field = None) -> Aggregator[list[Any]]:
    """All values in a list, in order of processing. It grows with them: state, changelog and results alike."""
    return Aggregator("collect", field, ("()",), "{0} = [*{0}, {x}]", "list({0})")


def compiled(columns: Mapping[str, Aggregator[Any]]) -> Fold:
    """One fold for all columns of a row."""
    for name, column in columns.items():
        if not isinstance(column, Aggregator):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(
                f"aggregate({name}=...) takes an aggregator such as tm.count() or tm.sum('field'), not {column!r}; "
                "for a function of your own write aggregate(initial, function)"
            )
    slots: dict[str, tuple[str, ...]] = {}
    for number, (name, column) in enumerate(columns.items()):
        slots[name] = tuple(f"s{number}_{place}" for place in range(len(column.start)))
    every = [slot for group in slots.values() for slot in group]
    fields = list(dict.fromkeys(column.field for column in columns.values()))
    inputs = {field: "value" if field is None else f"x{number}" for number, field in enumerate(fields)}
    names: dict[str, Any] = {f"f{number}": field for number, field in enumerate(fields) if callable(field)}
    names["field_of"] = field_of

    def update(name: str, access: Callable[[str], str | None], misses: str) -> str:
        lines = [f"def {name}(state, value):", "    if state is None:"]
        lines += [
            f"        {slot} = {start}"
            for column_name, column in columns.items()
            for slot, start in zip(slots[column_name], column.start, strict=True)
        ]
        lines += ["    else:", f"        {', '.join(every)}, = state"]
        for number, field in enumerate(fields):
            if callable(field):
                lines.append(f"    x{number} = None if value is None else f{number}(value)")
            elif field is not None:
                quick = access(field)
                generic = f"x{number} = field_of(value, {field!r})"
                lines += (
                    [f"    {generic}"]
                    if quick is None
                    else ["    try:", f"        x{number} = {quick}", f"    except {misses}:", f"        {generic}"]
                )
        for column_name, column in columns.items():
            x = inputs[column.field]
            statement = column.update.format(*slots[column_name], x=x)
            guarded = column.kind != "count" or column.field is not None
            lines.append(f"    if {x} is not None: {statement}" if guarded else f"    {statement}")
        lines.append(f"    return ({', '.join(every)},)")
        return "\n".join(lines)

    def by_attribute(field: str) -> str | None:
        return f"value.{field}" if field.isidentifier() and not keyword.iskeyword(field) else None

    shown = ", ".join(f"{name!r}: {column.result.format(*slots[name])}" for name, column in columns.items())
    kept = ", ".join(f"{_kept(name, column)!r}: {_packed(slots[name])}" for name, column in columns.items())
    source = "\n".join(
        (
            update("of_object", by_attribute, "AttributeError"),
            update("of_mapping", lambda field: f"value[{field!r}]", "(KeyError, TypeError)"),
            f"def row(state):\n    {', '.join(every)}, = state\n    return {{{shown}}}",
            f"def keep(state):\n    {', '.join(every)}, = state\n    return {{{kept}}}",
        )
    )
    defined = _run(source, names)
    of_object, of_mapping = defined["of_object"], defined["of_mapping"]
    return Fold(
        choose=lambda value: of_mapping if isinstance(value, Mapping) else of_object,
        result=defined["row"],
        serde=_RowState(columns, defined["keep"]),
        compiled=True,
    )


def field_of(value: Any, field: str) -> Any:
    """A field of an object or mapping; None when the value itself is None."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        row = cast("Mapping[str, Any]", value)
        if field in row:
            return row[field]
        raise KeyError(f"the value has no field {field!r}{did_you_mean(field, map(str, row))}")
    try:
        return getattr(value, field)
    except AttributeError:
        there = [name for name in dir(value) if not name.startswith("_")]
        raise AttributeError(
            f"the value, a {type(value).__qualname__}, has no field {field!r}{did_you_mean(field, there)}"
        ) from None


class _RowState:
    """State as a mapping from column and kind to slots, so that columns can come and go while the program lives."""

    def __init__(self, columns: Mapping[str, Aggregator[Any]], keep: Callable[[Any], dict[str, Any]]) -> None:
        self._keep = keep
        self._columns = [
            (_kept(name, column), len(column.start), [_START[start] for start in column.start])
            for name, column in columns.items()
        ]

    def encode(self, state: Any, /) -> bytes:
        return auto.encode(self._keep(state))

    def decode(self, data: bytes, /) -> tuple[Any, ...]:
        kept = auto.decode(data)
        slots: list[Any] = []
        for key, width, start in self._columns:
            if key not in kept:
                slots += start
            elif width == 1:
                slots.append(kept[key])
            else:
                slots += kept[key]
        return tuple(slots)


def _kept(name: str, column: Aggregator[Any]) -> str:
    """What a column's slots are stored under: with the kind, so that a sum is never taken for a mean."""
    return f"{name}:{column.kind}"


def _packed(slots: tuple[str, ...]) -> str:
    return slots[0] if len(slots) == 1 else f"[{', '.join(slots)}]"


_START: dict[str, Any] = {"0": 0, "None": None, "()": ()}


def _run(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs generated source; it can be read in tracebacks."""
    place = f"<aggregate {len(linecache.cache)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    exec(compile(source, place, "exec"), names)
    return names
