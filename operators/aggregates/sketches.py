"""Aggregators that keep a summary of values: distinct values, quantiles, the top few.

The first two are sketches of Apache DataSketches: HyperLogLog and t-digest, of some 4 KB a key however many values
there are. A slot never changes in place: a value is taken up by a copy of the sketch, by way of its bytes, so a record
that fails leaves the state as it was, and what is kept is what was there.

    HyperLogLog, 4,096 registers: the standard error is 1.04 / sqrt(4,096), about 1.6 %; up to some hundred, exact
    t-digest, compression 200: within 2 % of rank in the middle, within 0.2 % for the first and last hundredth
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

from ..errors import TopologyError
from ..serdes.auto import auto
from ..serdes.value_copies import fresh
from .aggregators import Aggregator
from .columns import field_of

__all__ = ["count_distinct", "quantile", "top"]

Field = str | Callable[[Any], Any]

REGISTERS: Final = 12
"""The binary logarithm of how many."""
COMPRESSION: Final = 200


def count_distinct(field: Field | None = None) -> Aggregator[int]:
    """Count different values, by HyperLogLog: exact for few, else within about 2 %.

    Values are compared as Python does: 1, 1.0 and True are one value. Needs `pip install tidemill[sketches]`.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.

    Example:
        >>> rows = orders.group_by_key().aggregate(items=tm.count_distinct("item"))
    """
    sketches = sketch_library("count_distinct")
    new, load, union = sketches.hll_sketch, sketches.hll_sketch.deserialize, sketches.hll_union
    kind = sketches.tgt_hll_type.HLL_8

    def add(sketch: Any, value: Any) -> Any:
        grown = new(REGISTERS, kind) if sketch is None else load(sketch.serialize_compact())
        grown.update(sketch_item(value))
        return grown

    def merge(sketch: Any, other: Any) -> Any:
        both = union(REGISTERS)
        for each in (sketch, other):
            if each is not None:
                both.update(each)
        return both.get_result(kind)

    return Aggregator(
        "count_distinct",
        field,
        ("None",),
        "{0} = {add}({0}, {x})",
        "0 if {0} is None else round({0}.get_estimate())",
        merge="{0} = {0} if {a} is None else {merge}({0}, {a})",
        uses={"add": add, "merge": merge},
        keep=lambda sketch: None if sketch is None else sketch.serialize_compact(),
        restore=lambda data: None if data is None else load(data),
    )


def quantile(field: Field | None, q: float | Sequence[float]) -> Aggregator[Any]:
    """Estimates the value below which a share of the values lies, by t-digest.

    None as long as there is no value. NaN is skipped. Needs `pip install tidemill[sketches]`.

    Args:
        field: The name of a field, or a function of the value; None is the value itself.
        q: The share, from 0 to 1, such as 0.5 for the median; or several, for a list of results.

    Raises:
        TopologyError: A share is not from 0 to 1.

    Example:
        >>> rows = orders.group_by_key().aggregate(pieces=tm.quantile("pieces", [0.5, 0.95]))
    """
    parts = [q] if isinstance(q, (int, float)) else list(q)
    if not parts or not all(isinstance(part, (int, float)) and 0 <= part <= 1 for part in parts):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TopologyError(f"tm.quantile: {q!r} is neither a number from 0 to 1 nor a list of such")
    digest = sketch_library("quantile").tdigest_double
    load = digest.deserialize

    def add(sketch: Any, value: Any) -> Any:
        number = float(value)
        if number != number:
            return sketch
        grown = digest(COMPRESSION) if sketch is None else load(sketch.serialize())
        grown.update(number)
        return grown

    def merge(sketch: Any, other: Any) -> Any:
        if sketch is None or other is None:
            return sketch or other
        both = load(sketch.serialize())
        both.merge(load(other.serialize()))
        return both

    def shown(sketch: Any) -> Any:
        found = [None if sketch is None else sketch.get_quantile(part) for part in parts]
        return found[0] if isinstance(q, (int, float)) else found

    return Aggregator(
        "quantile",
        field,
        ("None",),
        "{0} = {add}({0}, {x})",
        "{shown}({0})",
        merge="{0} = {merge}({0}, {a})",
        uses={"add": add, "merge": merge, "shown": shown},
        keep=lambda sketch: None if sketch is None else sketch.serialize(),
        restore=lambda data: None if data is None else load(data),
    )


def top(n: int, *, by: Field, field: Field | None = None) -> Aggregator[list[Any]]:
    """Keep the `n` greatest values, the greatest first; of equal ones, those processed first.

    Args:
        n: How many.
        by: What they are compared by: the name of a field, or a function of the value.
        field: What is kept of each: the name of a field, or a function of the value; None is the value itself.

    Raises:
        TopologyError: `n` is less than 1.

    Example:
        >>> rows = orders.group_by_key().aggregate(largest=tm.top(3, by="pieces", field="item"))
    """
    if type(n) is not int or n < 1:
        raise TopologyError(f"tm.top: {n!r} is not a number of values, 1 or more")
    if not (field is None or isinstance(field, str) or callable(field)):
        raise TopologyError(f"tm.top: {field!r} is neither a field's name nor a function of the value")
    if not (isinstance(by, str) or callable(by)):
        raise TopologyError("tm.top: by= is a field's name or a function of the value")

    def listed(value: Any) -> Any:
        value = fresh(value)
        return value if field is None else field_of(value, field) if isinstance(field, str) else fresh(field(value))

    def add(ranked: Any, rank: Any, value: Any) -> Any:
        if rank != rank or (len(ranked) == n and not rank > ranked[-1][0]):
            return ranked
        place = bisect_left(ranked, True, key=lambda pair: rank > pair[0])
        return (*ranked[:place], (rank, listed(value)), *ranked[place:][: n - 1 - place])

    def merge(ranked: Any, other: Any) -> Any:
        return tuple(sorted((*ranked, *other), key=lambda pair: pair[0], reverse=True)[:n])

    return Aggregator(
        "top",
        by,
        ("()",),
        "{0} = {add}({0}, {x}, value)",
        "[pair[1] for pair in {0}]",
        merge="{0} = {merge}({0}, {a})",
        uses={"add": add, "merge": merge},
        restore=lambda pairs: tuple((rank, value) for rank, value in pairs),
    )


def sketch_library(aggregator: str) -> Any:
    """Return the library of sketches.

    It is imported here because it imports NumPy, which takes a while.
    """
    try:
        return import_module("datasketches")
    except ImportError as error:
        raise TopologyError(
            f"tm.{aggregator} needs the package datasketches, which is not installed: pip install 'tidemill[sketches]'"
        ) from error


def sketch_item(value: Any) -> int | str:
    """Return a value as the sketch takes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return int(value)
    return "\0" + auto.encode(value).hex()
