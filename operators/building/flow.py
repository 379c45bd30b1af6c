"""Where a handle stands in the graph, and how steps are added there: plain ones, and keyed ones
with a repartition where one is needed.

A `Flow` is the step and port that a handle reads and what is known of keys and values there. A `Grouping` is a flow
whose records are to meet by key. What a step does is in the operators' own files, and which stores it has in the
`steps.py` beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...state.cache import Codec, StateCache
from ..errors import TopologyError
from ..graph.codecs import Encoder, RepartitionWriter
from ..graph.operator import Operator
from ..graph.topology import Caches, Input, Node, OperatorState, Repartition, StoreView
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde
from ..serdes.keys import windowed_key
from ..stores.entries import guarded
from ..stores.schema import shape
from ..time.windows import Windows
from ..user_functions import is_coroutine_function
from .draft import Asks, Draft, Settled, Step

__all__ = ["Flow", "Grouping", "check_function", "keyed", "keyed_step", "plain_step", "repartition"]


@dataclass(frozen=True)
class Flow:
    """A place in the graph, and what is known of the records there."""

    draft: Draft
    step: Step
    port: int = 0
    key: Serde[Any] | None = None
    """Of the key, or of the key in the window; None when it is not known."""
    value: Serde[Any] | None = None
    window: Windows | None = None
    """The windows when keys are `Windowed`."""
    rekeyed: bool = False
    """True when records of one key may be in different tasks."""
    history: int | None = None
    """How far back, in ms, a table remembers what its rows were; None when it does not."""

    @property
    def input(self) -> Input:
        return Input(self.step.id, self.port)

    def key_serde(self) -> Serde[Any]:
        """For stores and internal topics."""
        inner = self.key or auto_key
        return inner if self.window is None else windowed_key(inner, self.window)

    def to(self, step: Step) -> Flow:
        """The place after a step that changes nothing we know of."""
        return replace(self, step=step, port=0, history=None)


def check_function(function: object, what: str, *, coroutines: bool = False) -> None:
    """Raises TopologyError unless it can be called, and unless it gives coroutines only where those are awaited."""
    if not callable(function):
        raise TopologyError(f"{what} takes a function, not {function!r}")
    if not coroutines and is_coroutine_function(function):
        raise TopologyError(
            f"{what} takes a plain function, and this is a coroutine function, whose result nobody would await: use "
            ".map_async(), which calls it for many values at a time"
        )


def plain_step(
    flow: Flow,
    kind: str,
    build: Callable[[Settled], Operator],
    *,
    others: tuple[Flow, ...] = (),
    ports: tuple[str, ...] = ("",),
    asks: Asks = "new",
) -> Step:
    """A step without stores."""

    def make(settled: Settled) -> Node:
        return Node(settled.id, settled.name, kind, settled.inputs, build=lambda _caches: build(settled), ports=ports)

    return flow.draft.add(kind, (flow.input, *(other.input for other in others)), make, asks=asks)


class Grouping:
    """Records to be worked on by key: by the one they have, or by what a function gives.

    The repartition, where one is needed, is made for the first keyed step and serves all that follow.
    """

    def __init__(
        self,
        flow: Flow,
        by: Callable[[Any], Any] | None = None,
        key: Serde[Any] | None = None,
        *,
        null_keys: bool = False,
    ) -> None:
        """With `null_keys`, records without a key go through the repartition too, to any partition."""
        self.flow = flow if by is None else replace(flow, key=key, window=None, rekeyed=True)
        self.name: str | None = None
        self._by = by
        self._null_keys = null_keys
        self._through: Flow | None = None

    def through(self) -> Flow:
        """Where records of one key are in one task."""
        if self._through is None:
            self._through = self.flow
            if self.flow.rekeyed:
                self._through = repartition(self.flow, self._by, null_keys=self._null_keys)
        return self._through

    def write_as(self, key: Serde[Any]) -> None:
        """Says how the repartition, where one is still to be made, writes keys."""
        if self.flow.rekeyed and self._through is None:
            self.flow = replace(self.flow, key=key)

    def serves(self, step: Step, role: str = "") -> None:
        """Calls the repartition, if there is one and it has no name yet, after a step that it serves.

        `role` tells the inputs of a step with several apart.
        """
        through = self.through()
        if self.flow.rekeyed and through.step.made_for is None:
            through.step.made_for = step
            through.step.role = role
            through.step.name = self.name

    def add(self, kind: str, make: Callable[[Flow], Callable[[Settled], Node]], *, asks: Asks = "new") -> Flow:
        """Adds a keyed step; gives the place after it."""
        return keyed((self,), kind, lambda flows: make(flows[0]), asks=asks)


def keyed(
    groupings: Sequence[Grouping],
    kind: str,
    make: Callable[[tuple[Flow, ...]], Callable[[Settled], Node]],
    *,
    roles: Sequence[str] = ("",),
    asks: Asks = "new",
) -> Flow:
    """Adds a step to which records of one key come together, from one input or from several; gives the place after it.

    `make` gets the places that it reads. `roles`, one an input, tell the repartitions apart that are made for the step.
    """
    first = groupings[0].flow
    if any(grouping.flow.draft is not first.draft for grouping in groupings):
        raise TopologyError(f"a {kind}: one of its inputs is of another program")
    if any(grouping.flow.window != first.window for grouping in groupings):
        raise TopologyError(
            f"a {kind}: its inputs must have keys of one kind, either without windows or all in windows of one size"
        )
    _write_alike(groupings)
    flows = tuple(grouping.through() for grouping in groupings)
    step = first.draft.add(kind, [flow.input for flow in flows], make(flows), durable=True, asks=asks)
    for grouping, role in zip(groupings, roles, strict=True):
        grouping.serves(step, role)
    return flows[0].to(step)


def _write_alike(groupings: Sequence[Grouping]) -> None:
    """Has all repartitions write keys as the inputs do that need none: equal keys must be equal bytes to meet."""
    first_fixed = sorted((grouping.flow for grouping in groupings), key=lambda flow: flow.rekeyed)
    known = [flow.key for flow in first_fixed if flow.key is not None]
    for grouping in groupings if known else ():
        grouping.write_as(known[0])


def repartition(
    flow: Flow,
    by: Callable[[Any], Any] | None = None,
    partitions: int | None = None,
    *,
    null_keys: bool = False,
) -> Flow:
    """Through an internal topic, so that records of one key meet; those without a key are dropped unless wanted."""
    key, value = flow.key_serde(), flow.value or auto

    def make(settled: Settled) -> Node:
        def build(_caches: Caches) -> Operator:
            return RepartitionWriter(settled.name, Encoder(key, value), by, null_keys=null_keys)

        return Repartition(
            settled.id,
            settled.name,
            "repartition",
            settled.inputs,
            build=build,
            key=key,
            value=value,
            partitions=partitions,
            calls=by is not None,
        )

    step = flow.draft.add("repartition", (flow.input,), make, durable=True)
    return replace(flow.to(step), rekeyed=False)


def keyed_step(
    grouping: Grouping,
    kind: str,
    codec: Callable[[Flow], Codec[Any, Any]],
    view: StoreView,
    build: Callable[[Settled], Callable[[StateCache[Any, Any]], Operator]],
    disorder: int | None = None,
    ports: tuple[str, ...] = ("",),
    asks: Asks = "new",
    behind: int = 0,
    holds: bool = False,
    kept: str = "",
    keeps: Serde[Any] | None = None,
    gives: Serde[Any] | None = None,
) -> Flow:
    """A step with one store. `disorder` in ms is what it bears in its input before records are late; `behind` is how
    much older than its time its results may be; `holds` and `gives` are those of the node; `kept` says in a word what
    is in the store, and `keeps` is the serde of values that are stored as they come."""

    def make(flow: Flow) -> Callable[[Settled], Node]:
        def node(settled: Settled) -> Node:
            operator = build(settled)
            words = shape(kind, flow.key_serde(), kept)
            state = OperatorState(settled.spec(), guarded(codec(flow), settled.name), view, words)
            return Node(
                settled.id,
                settled.name,
                kind,
                settled.inputs,
                build=lambda caches: operator(caches[settled.name]),
                ports=ports,
                stores=(state,),
                keyed=True,
                disorder=disorder,
                behind=behind,
                holds=holds,
                keeps=() if keeps is None else (keeps,),
                gives=gives,
            )

        return node

    return grouping.add(kind, make, asks=asks)
