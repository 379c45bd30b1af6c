"""What a keyed step does with a value: accumulate, show, keep.

A `Fold` is the user's side of count, reduce and aggregate, without keys, windows or time. It is a piece of source, to
be put into the loop of the step that runs it: state slots and how they begin, statements that change them by `value`,
an expression for the result. The statements compute everything in local variables, so a value that fails leaves the
state as it was.

An accumulator that can be changed in place is handed to the user's function as a copy of its own, by way of the serde:
results already sent stay as they were, and what the function sees is what it would see after a restart.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .entries import Entry, serde_entry
from .generated import define, expanded
from .record import Update
from .serde import Serde

__all__ = ["Copier", "Fold", "Loop", "aggregating", "counting", "reducing"]

Loop = Callable[..., None]


ATOMS = {
    *(type(None), bool, int, float, complex, str, bytes),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID),
}


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

    def shown(self) -> Callable[[Entry], Any]:
        """A function from an entry to its result."""
        source = f"def shown(entry):\n    _, {', '.join(self.slots)}, = entry\n    return {self.result}"
        return define("result", source, self.names)["shown"]

    def loop(self, what: str, template: str, *, show: bool, updates: bool, **names: Any) -> Loop:
        """A step's loop with this fold in it.

        The template has a line `<start>` where the slots get their first values, `<load>` where they come from
        `entry`, which leaves its timestamp in `newest`, `<update>` where they take up `value`, `<undo>` where they
        give it up, and `<show>` where the result goes to `shown`; and `<entry>` for the new entry. `<show>` needs the
        row as it was in `before`. After `<reset>` the slots are as they were at `<save>`. A loop that merges has
        `<adopt>` too, after `<load>`, and `<merge>` where the slots take up those of `other`.
        """
        shown = f"Update(None if before is None else row_of(before), {self.result})" if updates else self.result
        made = f"(newest, {', '.join(self.slots)})"
        source = template.replace("<entry>", f"None if {self.slots[0]} is None else {made}" if self.deletes else made)
        blocks = {
            "start": [f"{slot} = {start}" for slot, start in zip(self.slots, self.start, strict=True)],
            "load": [f"newest, {', '.join(self.slots)}, = entry"],
            "show": [f"shown = {shown}"] if show else [],
            "adopt": self.adopt,
            "merge": [f"_, {', '.join(f'o{place}' for place in range(len(self.slots)))}, = other", *(self.merge or ())],
            "update": self.update,
            "undo": self.undo or (),
            "save": (f"saved = ({', '.join(self.slots)},)",),
            "reset": (f"{', '.join(self.slots)}, = saved",),
        }
        known = {**self.names, **names, "Update": Update, "row_of": self.shown()}
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


def reducing(function: Function, serde: Serde[Any], undoing: Function | None = None) -> Fold:
    """The first value, then the function of what there was and the next value; `undoing` takes a value back.

    Where values are taken back the function is asked for the first one, too, whether it takes such a value.
    """
    first = "value" if undoing is None else "(function(own(value), value), value)[1]"
    return _calling(
        f"state = {first} if state is None else function(own(state), value)",
        serde,
        undoing,
        merge=("state = o0 if state is None else function(own(state), own(o0))",),
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
    own = Copier(serde)
    fresh: Callable[[], Any] = initial if callable(initial) else lambda: own(initial)
    merged = "state = merge_function(fresh() if state is None else own(state), own(o0))"
    return _calling(
        "state = function(fresh() if state is None else own(state), value)",
        serde,
        undoing,
        adopt=("o0 = state", "state = None", merged),
        merge=None if merge is None else (merged,),
        cannot_merge="say how two of its results make one: .aggregate(initial, function, merge=function_of_two)",
        function=function,
        fresh=fresh,
        merge_function=merge,
    )


def _calling(
    statement: str,
    serde: Serde[Any],
    undoing: Function | None,
    *,
    adopt: tuple[str, ...] = (),
    merge: tuple[str, ...] | None,
    cannot_merge: str = "",
    **names: Any,
) -> Fold:
    """A fold with functions of the user's. What they give is tried on the serde while the record is at hand."""
    own = Copier(serde)
    check = "if state.__class__ not in known: learn(state)"
    return Fold(
        ("state",),
        ("None",),
        (statement, check),
        "state",
        *serde_entry(serde),
        deletes=True,
        adopt=adopt,
        merge=merge,
        cannot_merge=cannot_merge,
        names={**names, "own": own, "known": own.known, "learn": own.learn, "undoing": undoing},
        undo=None if undoing is None else ("state = undoing(own(state), value)", check),
    )


class Copier:
    """Calling it gives a value that may be changed in place as a copy, any other as it is.

    Raises TypeError for a value that the serde cannot write, when it meets the first one of a class.
    """

    def __init__(self, serde: Serde[Any]) -> None:
        self.known = set(ATOMS)
        """Classes of which the serde has written a value."""
        self._encode, self._decode = serde.encode, serde.decode

    def __call__(self, value: Any) -> Any:
        cls: type[Any] = value.__class__
        if cls in ATOMS:
            return value
        if cls not in self.known:
            self.learn(value)
        return value if is_fixed(value) else self._decode(self._encode(value))

    def learn(self, value: Any) -> None:
        """Writes a value of a class that is not known."""
        self._encode(value)
        self.known.add(value.__class__)


def is_fixed(value: Any) -> bool:
    """Whether a value cannot be changed in place, nor anything in it."""
    cls: type[object] = value.__class__
    if cls in ATOMS or issubclass(cls, enum.Enum):
        return True
    if issubclass(cls, (tuple, frozenset)):
        return all(map(is_fixed, value))
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_config__.frozen and all(is_fixed(getattr(value, name)) for name in cls.__struct_fields__)
    parameters, fields = getattr(cls, "__dataclass_params__", None), getattr(cls, "__dataclass_fields__", ())
    return parameters is not None and parameters.frozen and all(is_fixed(getattr(value, name)) for name in fields)
