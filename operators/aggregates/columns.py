"""The fold that the named columns of an aggregate make together.

A step's columns become one fold, because a call per column and record is what would cost most.
"""

from __future__ import annotations

import datetime as dt
import decimal
import keyword
from collections.abc import Callable, Mapping, Sequence
from itertools import count as count_from
from itertools import islice
from typing import Any, Final, cast

from ...state.store import VERSION
from ..errors import TopologyError
from ..serdes.auto import auto
from ..serdes.from_plain import known
from ..serdes.value_copies import is_fixed
from ..stores.entries import STORED, Entry, KeepColumn
from ..suggest import did_you_mean
from .aggregators import Aggregator, Field
from .fold import Fold
from .generated import define, expanded
from .partial_states import Combining

__all__ = ["columns_fold", "field_of"]

WHOLE = {"collect", "first", "last", "max", "min", "top"}
"""Kinds of columns that keep values as they came."""
NUMBERS: Final = frozenset({int, float, bool, complex, decimal.Decimal, dt.timedelta})
"""Classes that can be added, divided by a number, and stored."""
SURE = WHOLE - {"top"} | {"count", "sum"}
"""Kinds of columns with results that are their slots, or copies of them."""
BIG: Final = 1 << 63
LEAST: Final = -BIG
"""Ints between can be added to floats, so many as there may be."""
ADDED = {"mean", "sum"}
"""Kinds of columns that keep a sum, in the last of their slots."""
KEEP: Final = """\
def keep(entry: Entry) -> bytes:
    _, <slots> = entry
    return encode(<kept>)

def keep_column(entries: list[Entry]) -> list[bytes | None]:
    return [head(VERSION, time) + encode(<kept>) for time, <slots> in entries]
"""
STARTS: dict[str, Any] = {"0": 0, "None": None, "()": ()}


def columns_fold(columns: Mapping[str, Aggregator[Any]]) -> Fold:
    """One fold for all columns of a row."""
    for name, column in columns.items():
        if not isinstance(column, Aggregator):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(
                f"aggregate({name}=...) takes an aggregator such as tm.count() or tm.sum('field'), not {column!r}; "
                "for a function of your own write aggregate(initial, function)"
            )
    slots = {
        name: tuple(f"s{number}_{place}" for place in range(len(column.start)))
        for number, (name, column) in enumerate(columns.items())
    }
    every = tuple(slot for group in slots.values() for slot in group)
    fields = list(dict.fromkeys(column.field for column in columns.values() if column.field is not None))
    inputs: dict[Field, str] = {None: "value", **{field: f"x{number}" for number, field in enumerate(fields)}}
    look_up = FieldLookup([field for field in fields if isinstance(field, str)])
    names: dict[str, Any] = {"look_up": look_up, "classes": look_up.classes}
    names |= {f"f_{x}": field for field, x in inputs.items() if callable(field)}
    uses = {
        name: {use: f"u{number}_{use}" for use in column.uses} for number, (name, column) in enumerate(columns.items())
    }
    names |= {alias: columns[name].uses[use] for name, aliases in uses.items() for use, alias in aliases.items()}

    read = _reading(inputs)

    def change(template: Callable[[Aggregator[Any]], str]) -> tuple[str, ...]:
        lines = [*read]
        for name, column in columns.items():
            x = inputs[column.field]
            statement = template(column).format(*slots[name], x=x, **uses[name])
            if column.kind in WHOLE:
                lines.append(f"if {x}.__class__ not in taken: tried({x}); {x} = own_value({x})")
            lines.append(statement if column.every_record else f"if {x} is not None: {statement}")
            if column.kind in ADDED:
                total = slots[name][-1]
                lines.append(f"if {total}.__class__ not in numbers: check_{column.kind}({total})")
        return tuple(lines)

    keep, keep_column = _keepers(columns, slots, every)
    unmergeable = [f"tm.{column.kind}" for column in columns.values() if column.merge is None]
    shown = ", ".join(
        f"{name!r}: {column.result.format(*slots[name], **uses[name])}" for name, column in columns.items()
    )
    return Fold(
        slots=every,
        start=tuple(start for column in columns.values() for start in column.start),
        update=change(lambda column: column.update),
        result=f"{{{shown}}}",
        keep=keep,
        keep_column=keep_column,
        restore=_restorer(columns),
        names={**names, "taken": auto.takes, "tried": auto.encode, **CHECKS},
        holds=any(column.kind in WHOLE for column in columns.values()),
        undo=None
        if any(column.undo is None for column in columns.values())
        else change(lambda column: column.undo or ""),
        combining=_combining(columns, slots, inputs, read),
        merge=None if unmergeable else _merging(columns, slots, uses),
        cannot_merge=f"{', '.join(unmergeable)} cannot: use fixed windows",
        always_shows=all(column.kind in SURE for column in columns.values()),
        load=_loader(columns),
    )


def check_sum(total: Any) -> None:
    """Raise an error for a sum that cannot be stored.

    Also for one that a step downstream could change in place.
    """
    if total is not None:
        auto.encode(total)
        if not is_fixed(total):
            raise TypeError(f"tm.sum adds numbers, not a {type(total).__name__}, such as {total!r}")


def check_mean(total: Any) -> None:
    """Raise an error for a sum that has no mean, or that cannot be stored."""
    if total is not None:
        check_sum(total)
        try:
            auto.encode(total / 1)
        except TypeError:
            raise TypeError(f"tm.mean is for numbers, not a {type(total).__name__}, such as {total!r}") from None


def check_number(value: Any) -> None:
    """Raise TypeError unless it is a bool, which adds up with floats and ints."""
    if value.__class__ is not bool:
        raise TypeError(f"{value!r} may not fit the values of other records")


CHECKS: Final[Mapping[str, Any]] = {
    "numbers": NUMBERS,
    "check_sum": check_sum,
    "check_mean": check_mean,
    "check_number": check_number,
    "BIG": BIG,
    "LEAST": LEAST,
}


def _combining(
    columns: Mapping[str, Aggregator[Any]],
    slots: Mapping[str, tuple[str, ...]],
    inputs: Mapping[Field, str],
    reading: Sequence[str],
) -> Combining | None:
    """Return how records are combined; None if a column does not allow it."""
    read, collect, merge = [*reading], list[str](), list[str]()
    others = (f"o{number}" for number in count_from(0))
    for name, column in columns.items():
        if column.combined is None:
            return None
        x, used = inputs[column.field], slots[name]
        if column.combined.takes == "stored":
            read.append(f"if {x}.__class__ not in taken: tried({x}); {x} = own_value({x})")
        elif column.combined.takes == "numbers":
            small = f"({x}.__class__ is int and LEAST < {x} < BIG)"
            read.append(f"if {x} is not None and {x}.__class__ is not float and not {small}: check_number({x})")
        statement = column.combined.collect.format(*used, x=x)
        collect.append(statement if column.every_record else f"if {x} is not None: {statement}")
        theirs = dict(zip("ab", islice(others, len(used)), strict=False))
        merge += [line.format(*used, **theirs) for line in column.combined.merge]
    return Combining(tuple(read), tuple(collect), tuple(merge))


def _merging(
    columns: Mapping[str, Aggregator[Any]], slots: Mapping[str, tuple[str, ...]], uses: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    """Statements that change the slots by `o0`, `o1` ..., those of a younger session."""
    others = (f"o{number}" for number in count_from(0))
    return tuple(
        (column.merge or "").format(
            *slots[name], **dict(zip("ab", islice(others, len(column.start)), strict=False)), **uses[name]
        )
        for name, column in columns.items()
    )


def field_of(value: Any, field: str) -> Any:
    """Return a field of an object or mapping; None when the value itself is None."""
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


class FieldLookup:
    """The named fields of a value of any class.

    It remembers the classes whose fields are attributes, so that a loop can read those, and dicts, by itself. A dict
    has attributes too (`items`, `values`, `get`), so each value is read by its own class, whatever came before it.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self.classes: set[type[Any]] = set()

    def __call__(self, value: Any) -> list[Any]:
        if value is not None and not isinstance(value, Mapping):
            self.classes.add(value.__class__)
        return [field_of(value, field) for field in self._fields]


def _reading(inputs: Mapping[Field, str]) -> list[str]:
    """Return statements that read each field once.

    Each function gets its own copy of the value.
    """
    named = {field: x for field, x in inputs.items() if isinstance(field, str)}
    lines: list[str] = []
    if named:
        asked = f"{', '.join(named.values())}, = look_up(value)"
        lines += ["cls = value.__class__", "if cls is dict:", "    try:"]
        lines += [f"        {x} = value[{field!r}]" for field, x in named.items()]
        lines += ["    except KeyError:", f"        {asked}"]
        if all(field.isidentifier() and not keyword.iskeyword(field) for field in named):
            lines += ["elif cls in classes:", "    try:"]
            lines += [f"        {x} = value.{field}" for field, x in named.items()]
            lines += ["    except AttributeError:", f"        {asked}"]
        lines += ["else:", f"    {asked}"]
    lines += [
        f"{x} = None if value is None else f_{x}(own_value(value))" for field, x in inputs.items() if callable(field)
    ]
    return lines


def _kept_as(name: str, column: Aggregator[Any]) -> str:
    """Return the name under which the slots of a column are stored.

    It includes the kind, so that a sum is never taken for a mean.
    """
    return f"{name}:{column.kind}"


def _keepers(
    columns: Mapping[str, Aggregator[Any]], slots: Mapping[str, tuple[str, ...]], every: tuple[str, ...]
) -> tuple[Callable[[Entry], bytes], KeepColumn]:
    """Return functions from an entry to the bytes of its slots, and to its stored form.

    Columns are stored by name, so that they can be added and removed between versions of the program.
    """
    parts: list[str] = []
    names: dict[str, Any] = {"encode": auto.encode, "head": STORED.pack, "VERSION": VERSION, "Entry": Entry}
    for name, column in columns.items():
        mine = slots[name]
        kept = mine[0] if len(mine) == 1 else f"[{', '.join(mine)}]"
        if column.keep is not None:
            names[f"keep_{mine[0]}"] = column.keep
            kept = f"keep_{mine[0]}({kept})"
        parts.append(f"{_kept_as(name, column)!r}: {kept}")
    source = expanded(KEEP, {"slots": ", ".join(every), "kept": f"{{{', '.join(parts)}}}"})
    defined = define("state", source, names)
    return defined["keep"], defined["keep_column"]


def _restorer(columns: Mapping[str, Aggregator[Any]]) -> Callable[[bytes], tuple[Any, ...]]:
    known = [
        (_kept_as(name, column), len(column.start), [STARTS[start] for start in column.start], column.restore)
        for name, column in columns.items()
    ]

    def restore(data: bytes) -> tuple[Any, ...]:
        kept = auto.decode(data)
        slots: list[Any] = []
        for place, width, start, restored in known:
            if place not in kept:
                slots += start
            elif restored is not None:
                slots.append(restored(kept[place]))
            elif width == 1:
                slots.append(kept[place])
            else:
                slots += kept[place]
        return tuple(slots)

    return restore


def _loader(columns: Mapping[str, Aggregator[Any]]) -> Callable[[Any], Entry] | str:
    """Return the way back from a row to the slots, or why there is none."""
    hidden = [f"{name!r} (tm.{column.kind})" for name, column in columns.items() if column.load is None]
    if hidden:
        return f"the results of {', '.join(hidden)} do not determine what the step keeps for them"

    def load(value: Any) -> Entry:
        row: Any = known(value) if isinstance(value, str) else value
        if not isinstance(row, dict):
            raise ValueError(f"{value!r} is no row of columns {', '.join(columns)}")
        cells = cast("dict[str, Any]", row)
        others = sorted(cells.keys() - columns.keys())
        if others:
            raise ValueError(f"the step has no column {others[0]!r}{did_you_mean(others[0], columns)}")
        slots: list[Any] = []
        for name, column in columns.items():
            assert column.load is not None
            cell = cells.get(name)
            try:
                slots.append(STARTS[column.start[0]] if cell is None else column.load(cell))
            except ValueError as error:
                raise ValueError(f"column {name!r}: {error}") from error
        return tuple(slots)

    return load
