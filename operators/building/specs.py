"""Step specifications: what a step is, as frozen data, before it has a name.

The wiring functions (`steps.py` and `*_steps.py` in the packages of the operators) make specifications, and the
topology builder makes nodes from them. The only code in a specification is `operator`, which makes the operator of one
task from a `StepContext`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ...state.cache import Codec
from ..graph.operator import Operator
from ..graph.properties import (
    RepartitionProperties,
    SinkProperties,
    SourceProperties,
    StepProperties,
    TargetProperties,
)
from ..graph.topology import Rows, StoreView
from ..serdes.base import Serde

__all__ = [
    "By",
    "Combination",
    "EmitOnCommit",
    "RepartitionSpec",
    "SinkSpec",
    "SourceSpec",
    "StepContext",
    "StepSpec",
    "StepStore",
    "TargetSpec",
    "UpdatesWanted",
    "own_name",
]

UpdatesWanted = Literal["new", "old", "same"]


def own_name(step: str, suffix: str) -> str:
    """Return the name of a store that is named after a step."""
    return f"{step}-{suffix}" if suffix else step


@dataclass(frozen=True, kw_only=True)
class StepStore:
    """A store of a step."""

    codec: Codec[Any, Any] = field(repr=False, compare=False)
    shape: str
    """A short description that must not change under its name; see `stores/schema.py`."""
    view: StoreView = field(default_factory=StoreView, repr=False, compare=False)
    watermarked_view: StoreView | None = field(default=None, repr=False, compare=False)
    """The view of the store if the step has a watermark, if that makes a difference."""
    suffix: str = ""
    """The name is `<step>-<suffix>`, or that of the step; the context has the cache by suffix."""
    own_name: str | None = None
    """The name of the store, if it does not depend on that of the step."""
    changelog: bool = True
    value: Serde[Any] | None = field(default=None, repr=False, compare=False)
    """The serde of the value in an entry, if that is all there is besides its time: such values can be migrated."""
    begins_with: str | None = None
    """The topic of another engine whose rows the store takes over before its first record."""

    def name(self, step: str) -> str:
        """Return the name of the store, given the name of the step."""
        return self.own_name or own_name(step, self.suffix)


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """The arguments of an operator that are not in its specification."""

    name: str
    """The name of the step."""
    caches: Mapping[str, Any]
    """The caches of its stores in this task, by the suffix of the store: of each the class that its codec asks for."""
    rows: tuple[Rows, ...]
    """The stores of other steps that it reads: global tables, and tables in the same task."""
    sides: tuple[str, ...]
    """The side outputs that are read, by port; the ports follow those of the specification."""
    updates_in: bool
    """Whether the records of its inputs carry `Update` values."""
    updates_out: bool
    """Whether its own records must carry them, because a step downstream needs the old rows."""
    watermarked: bool
    """Whether a source upstream has a watermark: then only `advance` moves the operator's time."""
    combined: bool
    """Whether its records may be combined ones."""
    written: bool
    """Whether only one sink reads its results: then they may be `ResultColumns`."""

    @property
    def cache(self) -> Any:
        """The cache of the store without a suffix."""
        return self.caches[""]


@dataclass(frozen=True, kw_only=True)
class EmitOnCommit:
    """The results of a step wait for the commit, which sends the last one per key."""

    key: Serde[Any]
    """The serde of the keys; of windowed keys, that of the keys in them."""
    windowed: bool
    withdraws: bool
    """Whether a row may end: one that began since the last commit is then never sent."""
    holding: Callable[[StepContext], Operator] | None = field(default=None, repr=False, compare=False)
    """Makes an operator that holds its results itself.

    It is used if keys are equal only if their bytes are, and no step downstream needs the old rows.
    """


By: TypeAlias = "Callable[[Any], Any] | None"
"""Returns the key of a value; None stands for the key of the record."""


@dataclass(frozen=True)
class Combination:
    """How records are combined before they come to a step through a repartition topic."""

    keep: Callable[[tuple[Any, ...]], bytes]
    """From an entry of the step, of a partial state, to bytes."""
    restore: Callable[[bytes], tuple[Any, ...]]
    """From those bytes to the slots."""
    operator: Callable[[str, By, Serde[Any], Serde[Any] | None], Operator]
    """Makes the operator before the topic.

    Of the name of the repartition, the function of the key, the serde of keys in the topic, and that of the values;
    None for this if values are the same after they came through the topic.
    """


@dataclass(frozen=True, kw_only=True)
class StepSpec(StepProperties):
    """A step; equality does not include operators, codecs and views."""

    operator: Callable[[StepContext], Operator] = field(repr=False, compare=False)
    """Makes the operator of one task, and again when the operator is rebuilt.

    So it must be fast: what depends only on the arguments is computed once, outside of it.
    """
    stores: tuple[StepStore, ...] = ()
    asks: UpdatesWanted = "new"
    """What it needs from the tables that it reads.

    "new": current rows; "old": updates with the old rows; "same": what its own readers need.
    """
    on_commit: EmitOnCommit | None = None
    combination: Combination | None = field(default=None, repr=False, compare=False)
    relays: bool = False
    """Whether its results are the records that it is given, unless they carry updates."""
    row_of: Callable[[Any], Any] | None = field(default=None, repr=False, compare=False)
    """Returns the row in an entry of its first store, if that always has the rows as the step has sent them.

    The event time is the first item of the entry, and a row that does not exist has no entry.
    """
    spared: str | None = None
    """The suffix of a store that it does not need, because it reads those rows in the store of another step.

    It is named as if it had that store: the names of stores and topics after it contain its name.
    """
    default_name: str | None = None
    """The name unless the user gives one; without it, the builder makes a name (`names.py`)."""

    @property
    def durable(self) -> bool:
        """Whether durable data is named after the step: a store or an internal topic."""
        return bool(self.stores) or self.spared is not None


def no_operator(context: StepContext) -> Operator:
    """Fail: a source has no operator, only a decoder."""
    raise AssertionError(f"{context.name!r} is read by its decoder")


@dataclass(frozen=True, kw_only=True)
class SourceSpec(StepSpec, SourceProperties):
    """A step that reads topics."""

    operator: Callable[[StepContext], Operator] = field(default=no_operator, repr=False, compare=False)
    kind: str = "source"


@dataclass(frozen=True, kw_only=True)
class SinkSpec(StepSpec, SinkProperties):
    """A step that writes topics or calls a user function."""

    kind: str = "sink"


@dataclass(frozen=True, kw_only=True)
class RepartitionSpec(StepSpec, RepartitionProperties):
    """A step that writes an internal topic and reads it."""

    kind: str = "repartition"
    rewrite: Callable[[By, Serde[Any]], Callable[[StepContext], Operator]] | None = field(
        default=None, repr=False, compare=False
    )
    """Returns what makes its operator with another function of the key and another serde of values.

    None if its records cannot be combined.
    """
    by: By = field(default=None, repr=False, compare=False)

    @property
    def durable(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class TargetSpec(StepSpec, TargetProperties):
    """A step that writes to a target, which keeps positions under the name of the step."""

    @property
    def durable(self) -> bool:
        return True
