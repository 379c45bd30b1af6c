"""The names that generated code refers to, with their types, so that the golden files can be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import tidemill as tm
from tidemill.operators.aggregates.columns import BIG, LEAST, NUMBERS, FieldLookup, check_mean, check_number, check_sum
from tidemill.operators.aggregates.combining import Combine
from tidemill.operators.aggregates.fold import check_unchanged as check_unchanged_by
from tidemill.operators.aggregates.holding import HoldingFold
from tidemill.operators.graph.combined import Partial
from tidemill.operators.graph.record_loop import Records
from tidemill.operators.graph.result_columns import ResultColumns
from tidemill.operators.record import Record, Update, Windowed
from tidemill.operators.serdes.auto import auto
from tidemill.operators.serdes.value_copies import Copier, Keeper
from tidemill.operators.serdes.value_copies import fresh as own_value
from tidemill.operators.stores.entries import STORED, Entry
from tidemill.operators.windows.holding import HoldingWindowedFold
from tidemill.operators.windows.windowed import WindowedFold
from tidemill.state.cache import StateCache
from tidemill.state.pages import Page
from tidemill.state.store import VERSION
from tidemill.state.window_cache import WindowCache

__all__ = [
    "Any",
    "BIG",
    "Callable",
    "Combine",
    "Entry",
    "HoldingFold",
    "HoldingWindowedFold",
    "Iterator",
    "LEAST",
    "Page",
    "Partial",
    "Record",
    "Records",
    "Sequence",
    "StateCache",
    "Update",
    "VERSION",
    "WindowCache",
    "ResultColumns",
    "Windowed",
    "WindowedFold",
    "check_mean",
    "check_number",
    "check_sum",
    "check_unchanged",
    "classes",
    "copied",
    "encode",
    "f_x1",
    "fresh",
    "function",
    "head",
    "interval",
    "keep",
    "known",
    "look_up",
    "merge_function",
    "numbers",
    "own",
    "own_value",
    "row_of",
    "starts",
    "taken",
    "tried",
    "undoing",
]


def function(so_far: Any, value: Any) -> Any:
    """A function of the user's: from what there is so far and a value to what there is then."""
    return value


def fresh() -> Any:
    """The accumulator at first."""


def undoing(so_far: Any, value: Any) -> Any:
    """One that takes a value back."""
    return so_far


def merge_function(one: Any, other: Any) -> Any:
    """One that merges what two sessions have."""
    return one


def f_x1(value: Any) -> Any:
    """One that computes a field."""
    return value


def row_of(entry: Entry) -> Any:
    """From an entry to its result; it is generated, too."""
    return entry[1]


keeper = Keeper(auto)
own, keep = keeper.own, keeper.keep
known: set[type[Any]] = keeper.known
copied = Copier(auto)
check_unchanged = partial(check_unchanged_by, auto.encode)
look_up = FieldLookup(["amount"])
classes = look_up.classes
numbers, taken, tried, encode = NUMBERS, auto.takes, auto.encode, auto.encode
head = STORED.pack
starts = tm.hopping("1m", every="10s").starts
interval = tm.calendar("day").interval
