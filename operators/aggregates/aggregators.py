"""The named aggregators of `aggregate(count=count(), total=sum("amount"), ...)`.

An `Aggregator` says how one column of a row comes about: its state slots, how a value changes them, what they show.

None is no value: a field that is None is skipped by every aggregator but `count()`, as in SQL. NaN makes a sum or mean
NaN, and is skipped by `min` and `max` where there is a number. "First" and "last" mean in order of processing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as made_by
from typing import Any, Final, Generic, Literal, cast

from typing_extensions import TypeVar

from ..errors import TopologyError
from ..serdes.from_plain import known, number
from ..user_functions import is_coroutine_function

__all__ = ["Aggregator", "Field", "collect", "count", "first", "last", "max", "mean", "min", "sum", "whole_number"]

R = TypeVar("R", default=Any)

Field = str | Callable[[Any], Any] | None

APPEND: Final = "{0} = [{x}] if {0} is None else {0}.append({x}) or {0}"
"""The slot of a partial sum has all numbers: a sum of floating point numbers depends on the order of additions."""


@dataclass(frozen=True)
class Combined:
    """How a column combines values, so that the result is exactly that of the values one by one."""

    takes: Literal["any", "numbers", "stored"]
    """What it combines: any values, ints and floats, whose additions and comparisons cannot fail, or what is stored."""
    collect: str
    """How a value changes the slots of a partial state, which cannot fail."""
    merge: tuple[str, ...]
    """How the slots of a partial state, `{a}` and `{b}`, are taken up."""


@dataclass(frozen=True)
class Aggregator(Generic[R]):
    """How one column of an aggregate is computed, as `tm.count()` and the like return it.

    Example:
        >>> columns: dict[str, tm.Aggregator] = {"orders": tm.count(), "pieces": tm.sum("pieces")}
        >>> rows = orders.group_by_key().aggregate(**columns)
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
    combined: Combined | None = None
    """How values are combined before they come through a repartition topic; None if they are not."""
    keep: Callable[[Any], Any] | None = None
    """From a slot, the column's only one, to what is stored, where that is not the slot itself."""
    restore: Callable[[Any], Any] | None = None
    """The way back."""
    load: Callable[[Any], Any] | None = None
    """From a result in JSON types to the column's only slot; None if the result does not determine it."""

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
    """Count the records or, with a field, those in which it is not None.

    Args:
        field: The name of a field, or a function of the value; None counts all records.

    Example:
        >>> rows = orders.group_by_key().aggregate(orders=tm.count(), with_item=tm.count("item"))
    """
    return Aggregator(
        "count",
        field,
        ("0",),
        "{0} += 1",
        "{0}",
        "{0} -= 1",
        "{0} += {a}",
        combined=Combined("any", "{0} += 1", ("{0} += {a}",)),
        load=whole_number,
    )


def sum(field: Field) -> Aggregator[Any]:
    """Add up a field; the sum is 0 as long as there is no value.

    None is skipped, as in SQL.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(pieces=tm.sum("pieces"))
    """
    return Aggregator(
        "sum",
        field,
        ("None",),
        "{0} = {x} if {0} is None else {0} + {x}",
        "0 if {0} is None else {0}",
        merge="{0} = {a} if {0} is None else {0} if {a} is None else {0} + {a}",
        combined=Combined("numbers", APPEND, ("for one in {a} or (): {0} = one if {0} is None else {0} + one",)),
        load=sum_slot,
    )


def mean(field: Field) -> Aggregator[Any]:
    """Compute the arithmetic mean of a field; None as long as there is no value.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(pieces=tm.mean("pieces"))
    """
    return Aggregator(
        "mean",
        field,
        ("0", "None"),
        "{1} = {x} if {1} is None else {1} + {x}; {0} += 1",
        "{1} / {0} if {0} else None",
        "{0} -= 1; {1} = {1} - {x} if {0} else None",
        "{1} = {b} if {1} is None else {1} if {b} is None else {1} + {b}; {0} += {a}",
        combined=Combined(
            "numbers",
            f"{APPEND.replace('{0}', '{1}')}; {{0}} += 1",
            ("for one in {b} or (): {1} = one if {1} is None else {1} + one", "{0} += {a}"),
        ),
    )


def min(field: Field = None) -> Aggregator[Any]:
    """Keep the least value; None as long as there is none. NaN is skipped.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(least=tm.min("pieces"))
    """
    update = "{0} = {x} if {0} is None or {x} < {0} or {0} != {0} else {0}"
    merge = f"if {{a}} is not None: {update.replace('{x}', '{a}')}"
    return Aggregator(
        "min",
        field,
        ("None",),
        update,
        "{0}",
        merge=merge,
        combined=Combined("numbers", update, (merge,)),
        load=known,
    )


def max(field: Field = None) -> Aggregator[Any]:
    """Keep the greatest value; None as long as there is none. NaN is skipped.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(most=tm.max(lambda order: order["pieces"]))
    """
    update = "{0} = {x} if {0} is None or {x} > {0} or {0} != {0} else {0}"
    merge = f"if {{a}} is not None: {update.replace('{x}', '{a}')}"
    return Aggregator(
        "max",
        field,
        ("None",),
        update,
        "{0}",
        merge=merge,
        combined=Combined("numbers", update, (merge,)),
        load=known,
    )


def first(field: Field = None) -> Aggregator[Any]:
    """Keep the value that was processed first; of merged sessions, that of the oldest.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(first=tm.first("item"))
    """
    merge = "{0} = {a} if {0} is None else {0}"
    return Aggregator(
        "first",
        field,
        ("None",),
        "{0} = {x} if {0} is None else {0}",
        "{0}",
        merge=merge,
        combined=Combined("stored", "{0} = {x} if {0} is None else {0}", (merge,)),
        load=known,
    )


def last(field: Field = None) -> Aggregator[Any]:
    """Keep the value that was processed last; of merged sessions, that of the youngest.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(last=tm.last("item"))
    """
    merge = "{0} = {0} if {a} is None else {a}"
    return Aggregator(
        "last",
        field,
        ("None",),
        "{0} = {x}",
        "{0}",
        merge=merge,
        combined=Combined("stored", "{0} = {x}", (merge,)),
        load=known,
    )


def collect(field: Field = None) -> Aggregator[list[Any]]:
    """Collect all values in a list, in the order in which they were processed.

    The list is stored whole with each change, so it should stay short.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(items=tm.collect("item"))
    """
    merge = "{0} = [*{0}, *{a}]"
    return Aggregator(
        "collect",
        field,
        ("()",),
        "{0} = [*{0}, {x}]",
        "list({0})",
        merge=merge,
        combined=Combined("stored", "{0} = {0}.append({x}) or {0} if {0} else [{x}]", (merge,)),
        load=listed,
    )


def whole_number(value: Any) -> int:
    """Return a count. Raises ValueError."""
    found = number(value)
    if not isinstance(found, int):
        raise ValueError(f"{value!r} is not a whole number")
    return found


def sum_slot(value: Any) -> Any:
    """Return the slot of a sum: None for 0, which is also the sum of nothing. Raises ValueError."""
    found = number(value)
    return None if found == 0 and isinstance(found, int) else found


def listed(value: Any) -> list[Any]:
    """Return a list. Raises ValueError."""
    found = known(value)
    if not isinstance(found, list):
        raise ValueError(f"{value!r} is not a list")
    return cast("list[Any]", found)
