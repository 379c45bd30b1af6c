"""Stream references: a place in the topology under construction, where steps can be added.

A `StreamReference` is the step and port that is read, with what is known of the keys and values. A `Grouping` is a
reference whose records must meet by key: adding a keyed step to it adds a repartition if needed. The `StepSpec`
describes the step; its inputs, and whether it is keyed, follow from where it is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import TopologyError
from ..graph.codecs import Encoder, RepartitionWriter
from ..graph.operator import Operator
from ..graph.topology import Input
from ..record import Record
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde
from ..serdes.keys import windowed_key
from ..time.windows import Windows
from ..user_functions import is_coroutine_function
from .specs import By, RepartitionSpec, StepContext, StepSpec
from .step import StepDefinition
from .topology_builder import TopologyBuilder

__all__ = ["Grouping", "StreamReference", "add_keyed", "check_function", "copartitioned", "repartition"]


@dataclass(frozen=True)
class StreamReference:
    """A place in the graph, with what is known of its records."""

    builder: TopologyBuilder
    step: StepDefinition
    port: int = 0
    key: Serde[Any] | None = None
    """The serde of the key, or of the key inside a windowed key; None if unknown."""
    value: Serde[Any] | None = None
    window: Windows | None = None
    """The windows, if keys are `Windowed`."""
    rekeyed: bool = False
    """Whether records of one key may be in different tasks."""
    history: int | None = None
    """The length of a table's history, in ms; None if it has none."""

    @property
    def input(self) -> Input:
        return Input(self.step.id, self.port)

    def key_serde(self) -> Serde[Any]:
        """Return the serde of keys for stores and internal topics."""
        inner = self.key or auto_key
        return inner if self.window is None else windowed_key(inner, self.window)

    def to(self, step: StepDefinition) -> StreamReference:
        """Return the place after a step that keeps the types of keys and values."""
        return replace(self, step=step, port=0, history=None)

    def add(self, spec: StepSpec, *others: StreamReference, reads: Sequence[StepDefinition] = ()) -> StreamReference:
        """Add a step that reads this place and `others`; return the place after it."""
        return self.to(self.builder.add(spec, [reference.input for reference in (self, *others)], reads=reads))


def check_function(function: object, what: str, *, coroutines: bool = False) -> None:
    """Raise TopologyError unless it is callable and, without `coroutines`, not asynchronous."""
    if not callable(function):
        raise TopologyError(f"{what} takes a function, not {function!r}")
    if not coroutines and is_coroutine_function(function):
        raise TopologyError(
            f"{what} takes a plain function, and this is a coroutine function, which would never be awaited: use "
            ".map_async(), which calls it for many values at a time"
        )


class Grouping:
    """Records to be processed by key: by their own key, or by the result of a function.

    The repartition, if needed, is made for the first keyed step and used by all later ones.
    """

    def __init__(
        self,
        reference: StreamReference,
        by: Callable[[Any], Any] | None = None,
        key: Serde[Any] | None = None,
        *,
        null_keys: bool = False,
    ) -> None:
        """With `null_keys`, records without a key are repartitioned too, to any partition."""
        self.reference = reference if by is None else replace(reference, key=key, window=None, rekeyed=True)
        self.name: str | None = None
        self.was: tuple[str, ...] = ()
        self._by = by
        self._null_keys = null_keys
        self._through: StreamReference | None = None

    def through(self) -> StreamReference:
        """Return the place at which all records of a key are in one task."""
        if self._through is None:
            self._through = self.reference
            if self.reference.rekeyed:
                self._through = repartition(self.reference, self._by, null_keys=self._null_keys)
        return self._through

    @property
    def is_settled(self) -> bool:
        """Return whether the partitions of the keys are decided."""
        return not self.reference.rekeyed or self._through is not None

    def write_as(self, key: Serde[Any]) -> None:
        """Set the key serde of the repartition, if there is one that is not made yet."""
        if self.reference.rekeyed and self._through is None:
            self.reference = replace(self.reference, key=key)

    def serves(self, step: StepDefinition, role: str = "") -> None:
        """Name the repartition after a step, if there is one and it has no name yet.

        `role` distinguishes the inputs of a step with several.
        """
        through = self.through()
        if self.reference.rekeyed and through.step.made_for is None:
            through.step.made_for = step
            through.step.role = role
            through.step.name, through.step.was = self.name, self.was

    def add(self, spec: StepSpec) -> StreamReference:
        """Add a keyed step; return the place after it."""
        return add_keyed((self,), spec)


def copartitioned(groupings: Sequence[Grouping], kind: str) -> tuple[StreamReference, ...]:
    """Return the places at which a key's records are in one task, per input of a keyed step.

    Raises TopologyError if the inputs cannot be copartitioned.
    """
    first = groupings[0].reference
    if any(grouping.reference.builder is not first.builder for grouping in groupings):
        raise TopologyError(f"a {kind}: its inputs belong to different apps")
    if any(grouping.reference.window != first.window for grouping in groupings):
        raise TopologyError(
            f"a {kind}: its inputs must have keys of one kind, either without windows or all in windows of one size"
        )
    _write_alike(groupings)
    return tuple(grouping.through() for grouping in groupings)


def add_keyed(
    groupings: Sequence[Grouping],
    spec: StepSpec,
    roles: Sequence[str] = ("",),
    *,
    reads: Sequence[StepDefinition] = (),
) -> StreamReference:
    """Add a step in which the records of a key from all inputs meet; return the place after it.

    `roles`, one per input, distinguish the repartitions that are made for the step. It reads the stores of `reads`.
    """
    first, *others = copartitioned(groupings, spec.kind)
    reference = first.add(replace(spec, keyed=True), *others, reads=reads)
    for grouping, role in zip(groupings, roles, strict=True):
        grouping.serves(reference.step, role)
    return reference


def _write_alike(groupings: Sequence[Grouping]) -> None:
    """Give all repartitions the key serde of the inputs without one.

    Equal keys must have equal bytes to meet.
    """
    first_fixed = sorted((grouping.reference for grouping in groupings), key=lambda reference: reference.rekeyed)
    known = [reference.key for reference in first_fixed if reference.key is not None]
    for grouping in groupings if known else ():
        grouping.write_as(known[0])
    settled = [grouping.reference.key for grouping in groupings if grouping.is_settled]
    for one in settled:
        for other in settled:
            _check_alike(one, other)


def _check_alike(one: Serde[Any] | None, other: Serde[Any] | None) -> None:
    """Raise TopologyError if equal keys have different bytes by the two serdes."""
    if other is None or not getattr(one, "scattered", False) or getattr(other, "scattered", False):
        return
    if getattr(one, "model", Any) is not Any and getattr(one, "like", None) is not other:
        raise TopologyError(
            f"keys by {one!r} and by {other!r} have different bytes, so equal keys are in different partitions: give "
            f"the stream its key again, as in .with_key(lambda value: ..., key={one!r}), or read both with one serde"
        )


def repartition(
    reference: StreamReference,
    by: Callable[[Any], Any] | None = None,
    partitions: int | None = None,
    *,
    null_keys: bool = False,
    value: Serde[Any] | None = None,
    hashed: Callable[[Any], bytes] | None = None,
    partition: Callable[[Record[Any, Any]], int] | None = None,
) -> StreamReference:
    """Add a repartition topic; drop records with a null key unless `null_keys` is set.

    With `value` the topic has that serde instead of the stream's. `hashed` returns the bytes that decide the partition
    instead of the key; `partition` returns the partition.
    """
    key, written = reference.key_serde(), value or reference.value or auto

    def writing(by: By, written: Serde[Any]) -> Callable[[StepContext], Operator]:
        def operator(context: StepContext) -> Operator:
            encoder = Encoder(key, written, hashed=hashed, partition=partition)
            return RepartitionWriter(context.name, encoder, by, null_keys=null_keys)

        return operator

    plain = not null_keys and value is None and hashed is None and partition is None
    spec = RepartitionSpec(
        operator=writing(by, written),
        key=key,
        value=written,
        partitions=partitions,
        calls=by is not None or partition is not None,
        rewrite=writing if plain else None,
        by=by,
    )
    return replace(reference.add(spec), rekeyed=False, value=value or reference.value)
