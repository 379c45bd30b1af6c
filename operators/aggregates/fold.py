"""What a keyed step does with a value: accumulate, show, keep.

A `Fold` is the user's side of count, reduce and aggregate, without keys, windows or time. It is a piece of source, to
be put into the loop of the step that runs it: state slots and how they begin, statements that change them by `value`,
an expression for the result. The statements compute everything in local variables, so a value that fails leaves the
state as it was.

What users' functions give is kept in the form of `serdes/value_copies.py`: what can be changed in place as its bytes.
So the function of the next record gets an object of its own, and neither it nor a step downstream can change the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ..graph.combined import Partial
from ..record import Record, Update
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..serdes.from_plain import from_plain
from ..serdes.value_copies import Copier, Encoded, Keeper, fresh
from ..stores.entries import Entry, serde_column, serde_entry
from ..stores.schema import word
from .aggregators import whole_number
from .generated import Parts, define, expanded
from .partial_states import TAKE_UP, Combining

__all__ = ["Fold", "FoldFunctions", "FoldLoop", "aggregating", "counting", "of_fold", "reducing"]

FoldLoop = Callable[..., None]

SIGNATURE = """\
def loop(
    <step>
    records: Iterator[Record[Any, Any]],
    cache: <cache>,
    drops: dict[str, int],
    <results>
) -> None:
"""

RESULTS: Final = ("emit: Callable[[Record[Any, Any]], None],",)
RESULTS_IN_COLUMNS: Final = ("results: ResultColumns,",)
"""The last parameter of a loop: the function that takes a result, or the columns that results are added to."""

OPEN = """\
if entry is None:
    <start>
    newest = timestamp
else:
    newest, <slots> = entry
    <begin>
    if newest < timestamp:
        newest = timestamp
"""
"""The slots of an entry become local variables."""

FOLD = """\
<open>
<update>
<show>
"""
"""A value is added to an entry."""

TAKE = """\
def take(entry: Entry | None, value: Any, newest: int) -> tuple[Entry | None, Any]:
    if entry is None:
        <start>
    else:
        _, <slots> = entry
        <begin>
    <update>
    return <entry>, <shown>
"""

MERGE = """\
def merge(entries: Sequence[Entry]) -> Entry | None:
    _, <slots> = entries[0]
    <begin>
    <adopt>
    for other in entries[1:]:
        _, <others> = other
        <merge>
    newest = entries[-1][0]
    return <entry>
"""

SHOWN = """\
def shown(entry: Entry) -> Any:
    _, <slots> = entry
    <begin>
    return <result>
"""


@dataclass(frozen=True)
class Fold:
    """How values become state and state a result."""

    slots: tuple[str, ...]
    """Names of the state's variables."""
    start: tuple[str, ...]
    """What each is at first."""
    update: tuple[str, ...]
    """Statements that change them by `value`."""
    result: str
    """An expression of the slots."""
    keep: Callable[[Entry], bytes]
    """From an entry, which is the timestamp and the slots, to bytes that hold the slots."""
    restore: Callable[[bytes], Entry]
    """From those bytes to the slots."""
    keep_column: Callable[[list[Entry]], list[bytes | None]] | None = None
    """From entries to the stored form of each, faster than one by one."""
    deletes: bool = False
    """True when the one slot may become None, which deletes the key."""
    adopt: tuple[str, ...] = ()
    """Statements that make of a session's slots the first part of one that it is merged into."""
    merge: tuple[str, ...] | None = None
    """Statements that change the slots by those of a younger session, `o0`, `o1` ...; None when it cannot be done."""
    cannot_merge: str = ""
    """Why not, and what to do."""
    combining: Combining | None = None
    """How values are combined before they come through a repartition topic; None if they are not."""
    names: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the source refers to."""
    undo: tuple[str, ...] | None = None
    """Statements that take back what `value` did to them, for rows of a table; None where that cannot be done."""
    holds: bool = False
    """True when a result has values in it that the slots have as well and that may be changed in place."""
    begin: tuple[str, ...] = ()
    """Statements after the slots were set in any other way."""
    calls: bool = False
    """True when it gives `value` itself to a function of the user's, which may change it."""
    always_shows: bool = False
    """True when the result of an entry can be computed at any later time, and never fails."""
    value: Serde[Any] | None = None
    """The serde of its only slot, if that is a result of the user's functions."""
    load: Callable[[Any], Entry] | str = ""
    """From a result in JSON types to the slots, raising ValueError; text says why that cannot be done."""

    def shown(self) -> Callable[[Entry], Any]:
        """Return a function from an entry to its result."""
        return define("result", expanded(SHOWN, self._parts()), self.known())["shown"]

    def functions(self, *, show: bool = True) -> FoldFunctions:
        """Return the fold as functions on entries. Without `show` the result of `take` is None."""
        parts = {**self._parts(), "shown": self.result if show else "None"}
        take = define("fold", expanded(TAKE, parts), self.known())["take"]
        merge = None
        if self.merge is not None:
            merge = define("merge", expanded(MERGE, parts), self.known())["merge"]
        return FoldFunctions(take, merge, self.shown(), bool(self.adopt), self.calls)

    def loop(
        self,
        what: str,
        template: str,
        parts: Parts,
        names: Mapping[str, Any],
        *,
        show: bool,
        updates: bool,
        combined: bool = False,
    ) -> FoldLoop:
        """Return the loop of a step with this fold in it.

        The template begins with `<signature>`; the lines of the part `step` are further parameters, before the others;
        the part `cache` is the class of the cache, and the part `results` the last parameter. The template has a line
        `<fold>` where the variable `value` is added to `entry`, and `<entry>` for the entry that results; it has the
        event time `timestamp`. With `show`, the result is then in `shown`; with `updates`, as an `Update` of the row as
        it was in the entry `before`. `newest` is the event time of the result. If a record is added several times,
        `<own>` comes before `<fold>`: what a function of the user's does to the value must not show the next time. For
        loops in which a failure is no end, the macros of `<fold>` can be used by themselves. With `combined`, a value
        may be a `Partial`.
        """
        macros = {"signature": SIGNATURE, "open": OPEN, "fold": TAKE_UP if combined else FOLD, "add": FOLD}
        shown = f"Update(None if before is None else row_of(before), {self.result})" if updates else self.result
        result = {"show": (f"shown = {shown}",) if show else ()}
        usual = {"step": (), "cache": "StateCache[Any, Any]", "results": RESULTS}
        parts = {**usual, **macros, **self._parts(), **result, **parts}
        known = {
            **self.known(),
            **names,
            "Record": Record,
            "Update": Update,
            "Partial": Partial,
            "row_of": self.shown(),
        }
        return define(what, expanded(template, parts), known)["loop"]

    def known(self) -> dict[str, Any]:
        """Return what the source refers to."""
        return {**self.names, "own_value": fresh}

    def _parts(self) -> dict[str, str | tuple[str, ...]]:
        slots, start = ", ".join(self.slots), zip(self.slots, self.start, strict=True)
        made = f"(newest, {slots})"
        return {
            "start": (*(f"{slot} = {first}" for slot, first in start), *self.begin),
            "slots": slots,
            "begin": self.begin,
            "own": ("value = own_value(record.value)",) if self.calls else (),
            "update": self.update,
            "undo": self.undo or (),
            "entry": f"None if {self.slots[0]} is None else {made}" if self.deletes else made,
            "result": self.result,
            "adopt": self.adopt,
            "others": ", ".join(f"o{place}" for place in range(len(self.slots))),
            "merge": self.merge or (),
            "take_up": () if self.combining is None else self.combining.merge,
        }


@dataclass(frozen=True)
class FoldFunctions:
    """A fold as functions on entries, which they do not change.

    None is the entry of a key that has none.
    """

    take: Callable[[Entry | None, Any, int], tuple[Entry | None, Any]]
    """From an entry, a value and the event time of the result to the new entry and the result."""
    merge: Callable[[Sequence[Entry]], Entry | None] | None
    """From the entries of sessions, oldest first, to that of the session that they become."""
    shown: Callable[[Entry], Any]
    """From an entry to its result."""
    adopts: bool
    """True if `merge` changes an entry that is the only one."""
    calls: bool
    """True if `take` gives the value itself to a function of the user's, which may change it."""


def counting(serde: Serde[Any]) -> Fold:
    """How many values there were."""
    return Fold(
        ("state",),
        ("0",),
        ("state += 1",),
        "state",
        *serde_entry(serde),
        keep_column=serde_column(serde),
        undo=("state -= 1",),
        merge=("state += o0",),
        combining=Combining((), ("state += 1",), ("state += o0",)),
        always_shows=True,
        load=lambda value: (whole_number(value),),
    )


Function = Callable[[Any, Any], Any]

KEEP: Final = "state = given if given.__class__ in known else keep(given)"


def reducing(function: Function, serde: Serde[Any], undoing: Function | None = None) -> Fold:
    """Return the fold of a reduce: the first value, then the function of result and next value.

    `undoing` takes a value back.

    Where values are taken back the function is asked for the first one, too, whether it takes such a value.
    """
    first = "value" if undoing is None else "(function(copied(value), value), value)[1]"

    def lines(first: str, value: str) -> tuple[str, ...]:
        called = _called("function", "own(state)", value)
        return ("if state is None:", f"    given = {first}", "else:", *(f"    {line}" for line in called), KEEP)

    return _calling(
        lines(first, "value"),
        serde,
        undoing,
        merge=lines("own(o0)", "own(o0)"),
        function=function,
    )


def aggregating(
    initial: Any,
    function: Function,
    serde: Serde[Any],
    undoing: Function | None = None,
    merge: Function | None = None,
) -> Fold:
    """Return the fold of a function of accumulator and value.

    The accumulator begins as `initial`, which is called if it is callable.

    `undoing` takes a value back. Sessions are merged by `merge`, of what there was, which begins as `initial` too, and
    the next session, oldest first; the value comes last.
    """
    copied = Copier(serde)
    fresh: Callable[[], Any] = initial if callable(initial) else lambda: copied(initial)
    so_far = "fresh() if state is None else own(state)"
    merged = (*_called("merge_function", so_far, "own(o0)"), KEEP)
    return _calling(
        (*_called("function", so_far, "value"), KEEP),
        serde,
        undoing,
        adopt=("o0 = state", "state = None", *merged),
        merge=None if merge is None else merged,
        cannot_merge="say how two of its results make one: .aggregate(initial, function, merge=function_of_two)",
        function=function,
        fresh=fresh,
        merge_function=merge,
    )


def _called(function: str, so_far: str, value: str) -> tuple[str, ...]:
    """Return statements that call a function of the result so far and a value.

    `given` is the result of the call.

    None deletes, but not where what there was has been changed in place: then it was to be returned.
    """
    return (
        f"so_far = {so_far}",
        f"given = {function}(so_far, {value})",
        f"if given is None: check_unchanged(so_far, {so_far})",
    )


def _calling(
    update: tuple[str, ...],
    serde: Serde[Any],
    undoing: Function | None,
    *,
    adopt: tuple[str, ...] = (),
    merge: tuple[str, ...] | None,
    cannot_merge: str = "",
    **names: Any,
) -> Fold:
    """Return a fold of user functions.

    The slot is their result as stored, `given` the object itself.
    """
    keeper, loaded = Keeper(serde), from_plain(serde)
    return Fold(
        ("state",),
        ("None",),
        update,
        "own(state) if given is None else given",
        keeper.stored,
        lambda data: (Encoded(data),),
        deletes=True,
        adopt=adopt,
        merge=merge,
        cannot_merge=cannot_merge,
        names={
            **names,
            "own": keeper.own,
            "known": keeper.known,
            "keep": keeper.keep,
            "copied": Copier(serde),
            "undoing": undoing,
            "check_unchanged": partial(check_unchanged, serde.encode),
        },
        undo=None if undoing is None else (*_called("undoing", "own(state)", "value"), KEEP),
        begin=("given = None",),
        calls=True,
        value=serde,
        load=lambda value: (keeper.keep(loaded(value)),),
    )


def check_unchanged(encode: Callable[[Any], bytes], used: Any, before: Any) -> None:
    """Raise TypeError when a function that gave None has changed what it was given in place."""
    if used is not before and encode(used) != encode(before):
        raise TypeError("the function changed the accumulator in place and gave None: it must return it")


def of_fold(fold: Fold, value: Serde[Any] | None) -> str:
    """Return a word for what a fold keeps."""
    if fold.deletes:
        return word(value or auto)
    return "numbers" if len(fold.slots) == 1 and not fold.names else "columns"
