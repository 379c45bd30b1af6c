"""What a keyed step does with a value: accumulate, show, keep.

A `Fold` is the user's side of count, reduce and aggregate, without keys, windows or time. It is a piece of source, to
be put into the loop of the step that runs it: state slots and how they begin, statements that change them by `value`,
an expression for the result. The statements compute everything in local variables, so a value that fails leaves the
state as it was.

What users' functions give is kept in the form of `serdes/value_copies.py`: what can be changed in place as its bytes.
So the function of the next record gets an object of its own, and neither it nor a step downstream can change the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ..record import Update
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..serdes.value_copies import Copier, Encoded, Keeper, fresh
from ..stores.entries import Entry, serde_entry
from ..stores.schema import word
from .generated import define, expanded

__all__ = ["Fold", "Loop", "aggregating", "counting", "of_fold", "reducing"]

Loop = Callable[..., None]


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
    deletes: bool = False
    """True when the one slot may become None, which deletes the key."""
    adopt: tuple[str, ...] = ()
    """Statements that make of a session's slots the first part of one that it is merged into."""
    merge: tuple[str, ...] | None = None
    """Statements that change the slots by those of a younger session, `o0`, `o1` ...; None when it cannot be done."""
    cannot_merge: str = ""
    """Why not, and what to do."""
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

    def shown(self) -> Callable[[Entry], Any]:
        """A function from an entry to its result."""
        lines = [f"_, {', '.join(self.slots)}, = entry", *self.begin, f"return {self.result}"]
        source = "\n    ".join(["def shown(entry):", *lines])
        return define("result", source, self.names)["shown"]

    def loop(self, what: str, template: str, *, show: bool, updates: bool, **names: Any) -> Loop:
        """A step's loop with this fold in it.

        The template has a line `<start>` where the slots get their first values, `<load>` where they come from
        `entry`, which leaves its timestamp in `newest`, `<update>` where they take up `value`, `<undo>` where they
        give it up, and `<show>` where the result goes to `shown`; and `<entry>` for the new entry. `<show>` needs the
        row as it was in `before`. After `<reset>` the slots are as they were at `<save>`. A loop that merges has
        `<adopt>` too, after `<load>`, and `<merge>` where the slots take up those of `other`. Where a record counts in
        several windows `<own>` comes before `<update>`: what a function does to the value in one of them must not show
        in the others.
        """
        shown = f"Update(None if before is None else row_of(before), {self.result})" if updates else self.result
        made = f"(newest, {', '.join(self.slots)})"
        source = template.replace("<entry>", f"None if {self.slots[0]} is None else {made}" if self.deletes else made)
        blocks = {
            "start": [*(f"{slot} = {start}" for slot, start in zip(self.slots, self.start, strict=True)), *self.begin],
            "load": [f"newest, {', '.join(self.slots)}, = entry", *self.begin],
            "show": [f"shown = {shown}"] if show else [],
            "adopt": self.adopt,
            "merge": [f"_, {', '.join(f'o{place}' for place in range(len(self.slots)))}, = other", *(self.merge or ())],
            "own": ["value = own_value(record.value)"] if self.calls else [],
            "update": self.update,
            "undo": self.undo or (),
            "save": (f"saved = ({', '.join(self.slots)},)",),
            "reset": (f"{', '.join(self.slots)}, = saved", *self.begin),
        }
        known = {**self.names, **names, "Update": Update, "own_value": fresh, "row_of": self.shown()}
        return define(what, expanded(source, blocks), known)["loop"]


def counting(serde: Serde[Any]) -> Fold:
    """How many values there were."""
    return Fold(
        ("state",),
        ("0",),
        ("state += 1",),
        "state",
        *serde_entry(serde),
        undo=("state -= 1",),
        merge=("state += o0",),
    )


Function = Callable[[Any, Any], Any]

KEEP: Final = "state = given if given.__class__ in known else keep(given)"


def reducing(function: Function, serde: Serde[Any], undoing: Function | None = None) -> Fold:
    """The first value, then the function of what there was and the next value; `undoing` takes a value back.

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
    """The function of an accumulator, which begins as `initial` (called, if it can be), and the value.

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
    """Statements that call a function of what there is so far and a value; `given` is what it gave.

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
    """A fold with functions of the user's: the slot is what they gave, as it is kept; `given` is the object itself."""
    keeper = Keeper(serde)
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
    )


def check_unchanged(encode: Callable[[Any], bytes], used: Any, before: Any) -> None:
    """Raises TypeError when a function that gave None has changed what it was given in place."""
    if used is not before and encode(used) != encode(before):
        raise TypeError("the function changed the accumulator in place and gave None: it must return it")


def of_fold(fold: Fold, value: Serde[Any] | None) -> str:
    """A word for what a fold keeps."""
    if fold.deletes:
        return word(value or auto)
    return "numbers" if len(fold.slots) == 1 and not fold.names else "columns"
