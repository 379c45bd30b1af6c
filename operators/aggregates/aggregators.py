"""The named aggregators of `aggregate(count=count(), total=sum("amount"), ...)`, and the fold they make together.

An `Aggregator` says how one column of a row comes about: its state slots, how a value changes them, what they show. A
step's columns become one fold, because a call a column and record is what would cost most.

None is no value: a field that is None is skipped by every aggregator but `count()`, as in SQL. NaN makes a sum or mean
NaN, and is skipped by `min` and `max` where there is a number. "First" and "last" mean in order of processing.
"""

from __future__ import annotations

import datetime as dt
import decimal
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_by
from itertools import count as count_from
from itertools import islice
from typing import Any, Final, Generic, cast

from typing_extensions import TypeVar

from ..errors import TopologyError
from ..serdes.auto import auto
from ..serdes.value_copies import is_fixed
from ..suggest import did_you_mean
from ..user_functions import is_coroutine_function
from .fold import Fold
from .generated import define

__all__ = ["Aggregator", "collect", "columns_fold", "count", "first", "last", "max", "mean", "min", "sum"]

R = TypeVar("R", default=Any)

Field = str | Callable[[Any], Any] | None

WHOLE = {"collect", "first", "last", "max", "min", "top"}
"""Kinds of columns that keep values as they came."""
NUMBERS: Final = frozenset({int, float, bool, complex, decimal.Decimal, dt.timedelta})
"""Classes that can be added, divided by a number, and stored."""
ADDED = {"mean", "sum"}
"""Kinds of columns that keep a sum, in the last of their slots."""
STARTS: dict[str, Any] = {"0": 0, "None": None, "()": ()}


@dataclass(frozen=True)
class Aggregator(Generic[R]):
    """One column. In the templates `{0}`, `{1}` are its state slots and `{x}` the field's value, which is not None.

    In `merge`, which makes one session of two, `{a}` and `{b}` are the slots of the younger one.
    """

    kind: str
    field: Field
    start: tuple[str, ...]
    update: str
    result: str
    undo: str | None = None
    """How a value is taken back, where a column can do that."""
    merge: str | None = None
    """How a younger session's slots are taken up, where a column can do that."""
    uses: Mapping[str, Callable[..., Any]] = made_by(default_factory=dict[str, Any])
    """Functions that the templates name, as in `{add}`."""
    keep: Callable[[Any], Any] | None = None
    """From a slot, the column's only one, to what is stored, where that is not the slot itself."""
    restore: Callable[[Any], Any] | None = None
    """The way back."""

    def __post_init__(self) -> None:
        if not (self.field is None or isinstance(self.field, str) or callable(self.field)):
            raise TopologyError(f"tm.{self.kind}: {self.field!r} is neither a field's name nor a function of the value")
        if is_coroutine_function(self.field):
            raise TopologyError(f"tm.{self.kind} takes a plain function of the value, not a coroutine function")

    @property
    def every_record(self) -> bool:
        """True when the column takes records without a value, too."""
        return self.kind == "count" and self.field is None


def count(field: Field = None) -> Aggregator[int]:
    """How many records; with a field, how many in which it is not None."""
    return Aggregator("count", field, ("0",), "{0} += 1", "{0}", "{0} -= 1", "{0} += {a}")


def sum(field: Field) -> Aggregator[Any]:
    """The sum of a field; 0 as long as there is no value."""
    return Aggregator(
        "sum",
        field,
        ("None",),
        "{0} = {x} if {0} is None else {0} + {x}",
        "0 if {0} is None else {0}",
        merge="{0} = {a} if {0} is None else {0} if {a} is None else {0} + {a}",
    )


def mean(field: Field) -> Aggregator[Any]:
    """The arithmetic mean of a field; None as long as there is no value."""
    return Aggregator(
        "mean",
        field,
        ("0", "None"),
        "{1} = {x} if {1} is None else {1} + {x}; {0} += 1",
        "{1} / {0} if {0} else None",
        "{0} -= 1; {1} = {1} - {x} if {0} else None",
        "{1} = {b} if {1} is None else {1} if {b} is None else {1} + {b}; {0} += {a}",
    )


def min(field: Field = None) -> Aggregator[Any]:
    """The least value; None as long as there is none."""
    update = "{0} = {x} if {0} is None or {x} < {0} or {0} != {0} else {0}"
    return Aggregator(
        "min", field, ("None",), update, "{0}", merge=f"if {{a}} is not None: {update.replace('{x}', '{a}')}"
    )


def max(field: Field = None) -> Aggregator[Any]:
    """The greatest value; None as long as there is none."""
    update = "{0} = {x} if {0} is None or {x} > {0} or {0} != {0} else {0}"
    return Aggregator(
        "max", field, ("None",), update, "{0}", merge=f"if {{a}} is not None: {update.replace('{x}', '{a}')}"
    )


def first(field: Field = None) -> Aggregator[Any]:
    """The value that was processed first; of sessions that are merged, that of the oldest."""
    return Aggregator(
        "first", field, ("None",), "{0} = {x} if {0} is None else {0}", "{0}", merge="{0} = {a} if {0} is None else {0}"
    )


def last(field: Field = None) -> Aggregator[Any]:
    """The value that was processed last; of sessions that are merged, that of the youngest."""
    return Aggregator("last", field, ("None",), "{0} = {x}", "{0}", merge="{0} = {0} if {a} is None else {a}")


def collect(field: Field = None) -> Aggregator[list[Any]]:
    """All values in a list, in order of processing; those of sessions that are merged, session by session.

    It grows with them: state, changelog and results alike.
    """
    return Aggregator("collect", field, ("()",), "{0} = [*{0}, {x}]", "list({0})", merge="{0} = [*{0}, *{a}]")


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
    look_up = LookUp([field for field in fields if isinstance(field, str)])
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

    unmergeable = [f"tm.{column.kind}" for column in columns.values() if column.merge is None]
    shown = ", ".join(
        f"{name!r}: {column.result.format(*slots[name], **uses[name])}" for name, column in columns.items()
    )
    return Fold(
        slots=every,
        start=tuple(start for column in columns.values() for start in column.start),
        update=change(lambda column: column.update),
        result=f"{{{shown}}}",
        keep=_keeper(columns, slots, every),
        restore=_restorer(columns),
        names={**names, "taken": auto.takes, "tried": auto.encode, **CHECKS},
        holds=any(column.kind in WHOLE for column in columns.values()),
        undo=None
        if any(column.undo is None for column in columns.values())
        else change(lambda column: column.undo or ""),
        merge=None if unmergeable else _merging(columns, slots, uses),
        cannot_merge=f"{', '.join(unmergeable)} cannot: use fixed windows",
    )


def check_sum(total: Any) -> None:
    """Raises an error for a sum that cannot be stored, or that a step downstream could change in place."""
    if total is not None:
        auto.encode(total)
        if not is_fixed(total):
            raise TypeError(f"tm.sum adds numbers, not a {type(total).__name__}, such as {total!r}")


def check_mean(total: Any) -> None:
    """Raises an error for a sum that has no mean, or that cannot be stored."""
    if total is not None:
        check_sum(total)
        try:
            auto.encode(total / 1)
        except TypeError:
            raise TypeError(f"tm.mean is for numbers, not a {type(total).__name__}, such as {total!r}") from None


CHECKS: Final[Mapping[str, Any]] = {"numbers": NUMBERS, "check_sum": check_sum, "check_mean": check_mean}


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


class LookUp:
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
    """Statements that read each field once. A function gets a value of its own: the next one sees nothing of it."""
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
    """What a column's slots are stored under: with the kind, so that a sum is never taken for a mean."""
    return f"{name}:{column.kind}"


def _keeper(
    columns: Mapping[str, Aggregator[Any]], slots: Mapping[str, tuple[str, ...]], every: tuple[str, ...]
) -> Callable[[tuple[Any, ...]], bytes]:
    """Columns are stored by name, so that they can come and go while the program lives."""
    parts: list[str] = []
    names: dict[str, Any] = {"encode": auto.encode}
    for name, column in columns.items():
        mine = slots[name]
        kept = mine[0] if len(mine) == 1 else f"[{', '.join(mine)}]"
        if column.keep is not None:
            names[f"keep_{mine[0]}"] = column.keep
            kept = f"keep_{mine[0]}({kept})"
        parts.append(f"{_kept_as(name, column)!r}: {kept}")
    source = f"def keep(entry):\n    _, {', '.join(every)}, = entry\n    return encode({{{', '.join(parts)}}})"
    return define("state", source, names)["keep"]


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
