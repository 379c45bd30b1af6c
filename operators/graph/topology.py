"""The topology: a program as a frozen graph of steps.

A `Topology` is the value between the DSL, which builds it, and the planner, which divides it into tasks. Every node
knows its inputs, its stores and how to build its operator. Nothing here runs, reads a clock or depends on Kafka; the
checks of `Topology.of` make a graph valid by construction.

    Source --> Step --> Step --> Repartition --> Step --> Sink
               (0..n inputs, 1..n output ports, 0..n stores)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ...state.cache import Codec
from ...state.store import StoreSpec
from ..errors import TopologyError
from ..policy import ErrorPolicy
from ..serdes.base import Serde
from ..time.watermark import Watermark
from .operator import Operator
from .properties import (
    RepartitionProperties,
    SinkProperties,
    SourceProperties,
    StepProperties,
    TargetProperties,
)
from .store_loading import NOT_LOADED, Loading
from .store_rows import StoreRow

__all__ = [
    "Caches",
    "Input",
    "Node",
    "OperatorState",
    "Repartition",
    "Rows",
    "Sink",
    "Source",
    "StoreView",
    "TargetNode",
    "Topology",
    "check_name",
]

Caches = Mapping[str, Any]
"""The caches of a step's stores, by store name: a `WindowCache` where the codec has windows, else a `StateCache`."""

LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,180}")


class Rows(Protocol):
    """A store of another step as the steps that read it see it."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the entry under a key, None if there is none."""
        ...


class Input(NamedTuple):
    """An edge: the output `port` of the node with id `node`."""

    node: int
    port: int = 0


@dataclass(frozen=True)
class StoreView:
    """The view of a store for queries: maps keys in both directions, and entries to values."""

    to_key: Callable[[Any], Any] = lambda key: key
    from_key: Callable[[Any], Any] = lambda key: key
    from_value: Callable[[Any], Any] = lambda value: value
    """Returns None for an entry that queries do not see."""
    timestamp: Callable[[Any], int | None] = lambda value: None
    """Returns the event time of an entry, if it has one."""
    visible: Callable[[Any], bool] = lambda key: True
    """Returns False for bookkeeping entries of the step, such as its stream time."""
    as_of: Callable[[Any, Any, int], Any] | None = None
    """Returns the entry of a key that was valid at a time; None for a store without a history."""
    rows: Callable[[Any, Any], Iterable[StoreRow]] | None = None
    """Returns the rows of an entry in a dump, if they are not what queries see."""
    loading: Loading | str = NOT_LOADED
    """The way back from the rows of a dump to entries; text says why there is none."""

    def dumped(self, key: Any, entry: Any) -> Iterable[StoreRow]:
        """Return the rows of an entry in a dump."""
        if self.rows is not None:
            return self.rows(key, entry)
        if not self.visible(key) or (shown := self.from_value(entry)) is None:
            return ()
        return (StoreRow(self.from_key(key), shown, self.timestamp(entry)),)


@dataclass(frozen=True)
class OperatorState:
    """A store of a step: its specification, its codec, and its view for queries."""

    spec: StoreSpec
    codec: Codec[Any, Any]
    view: StoreView = field(default_factory=StoreView)
    shape: str = ""
    """A short description that must not change under its name; see `stores/schema.py`."""
    migrations: int = 0
    """How many migrations its values have had when they are written."""
    begins_with: str | None = None
    """The topic of another engine whose rows it takes over before its first record."""


@dataclass(frozen=True, kw_only=True)
class Node(StepProperties):
    """A step: `id` identifies it in the graph, `name` to users, stores and internal topics."""

    id: int
    name: str
    inputs: tuple[Input, ...]
    was: tuple[str, ...] = ()
    """Its former names, if durable data is named after it."""
    build: Callable[[Caches], Operator] = field(repr=False)
    stores: tuple[OperatorState, ...] = ()
    reads: tuple[str, ...] = ()
    """The stores of other steps that it reads: `build` finds them in the caches."""
    spared: tuple[str, ...] = ()
    """The name of a store that it does not need, because it reads those rows in the store of another step.

    Its former names follow.
    """
    policy: ErrorPolicy | None = None
    """The error policy of the step, if it differs from the application's."""
    watermark: Watermark | None = None
    """The watermark, if sources upstream have one: then only `advance` moves the step's time."""
    tries: tuple[Serde[Any] | None, ...] = ()
    """The serdes of `keeps` that may be unable to encode a value: see `value_checks.py`."""
    private: tuple[bool, ...] = ()
    """For each input, whether values are copied; empty if none are: see `input_copies.py`."""

    @property
    def active(self) -> tuple[Input, ...]:
        """The inputs whose records the operator gets."""
        if not any(self.passive):
            return self.inputs
        return tuple(one for one, passive in zip(self.inputs, self.passive, strict=True) if not passive)


@dataclass(frozen=True, kw_only=True)
class Source(Node, SourceProperties):
    """A step that reads topics."""


@dataclass(frozen=True, kw_only=True)
class Sink(Node, SinkProperties):
    """A step that writes topics or calls a user function; its operator returns `Outgoing` items."""


@dataclass(frozen=True, kw_only=True)
class Repartition(Node, RepartitionProperties):
    """A step that writes and reads an internal topic, so that a key's records meet in a task.

    Its operator writes, and leaves `Outgoing.topic` empty: the planner knows the topic's name.
    """


@dataclass(frozen=True, kw_only=True)
class TargetNode(Node, TargetProperties):
    """A sink that writes to a target.

    It reads one topic, whose offsets are the positions in the target.
    """


@dataclass(frozen=True)
class Topology:
    """A complete program: nodes in topological order.

    `Builder.topology` makes it; `tidemill topology` prints it.

    Example:
        >>> large = orders.filter(lambda order: order["pieces"] >= 10).named("large")
        >>> [node.name for node in app.topology().nodes]
        ['orders', 'payments', 'customers-source', 'customers', 'large']
    """

    nodes: tuple[Node, ...]

    @staticmethod
    def of(nodes: Sequence[Node]) -> Topology:
        """Check the graph and freeze it.

        Raises TopologyError if there is nothing to run, a name is not legal in a topic's name, two steps or stores have
        the same name, or a step's input is missing. A repartition may have the name of the step that it is made for.
        """
        if not any(isinstance(node, Source) and not node.broadcast for node in nodes):
            raise TopologyError("the program reads nothing: begin with app.stream(topic) or app.table(topic)")
        seen: dict[tuple[str, bool, bool], Node] = {}
        stores: dict[str, Node] = {}
        earlier: set[int] = set()
        for node in nodes:
            check_name(node.name, "step")
            place = node.name, isinstance(node, Repartition), node.combines
            if place in seen:
                other = seen[place]
                raise TopologyError(
                    f"two steps would be called {node.name!r} (a {other.kind} and a {node.kind}); "
                    "name one of them yourself with .named('...'): stores and internal topics are named after steps"
                )
            seen[place] = node
            for state in node.stores:
                check_name(state.spec.name, "store")
                if state.spec.name in stores:
                    raise TopologyError(
                        f"the steps {stores[state.spec.name].name!r} and {node.name!r} both have a store called "
                        f"{state.spec.name!r}; name one of the steps yourself with .named('...')"
                    )
                stores[state.spec.name] = node
            for edge in node.inputs:
                if edge.node not in earlier:
                    raise TopologyError(f"step {node.name!r} reads from a step that does not come before it")
            earlier.add(node.id)
        _refuse_former(nodes, stores)
        return Topology(tuple(nodes))

    def node(self, node_id: int) -> Node:
        """Return the node with this id; raise KeyError if there is none."""
        return self._by_id[node_id]

    def consumers(self, node_id: int) -> tuple[Node, ...]:
        """Return the nodes that read any port of this one, in order of definition."""
        return tuple(node for node in self.nodes if any(edge.node == node_id for edge in node.inputs))

    @property
    def _by_id(self) -> dict[int, Node]:
        return {node.id: node for node in self.nodes}

    @property
    def sources(self) -> tuple[Source, ...]:
        """The nodes that read the user's topics."""
        return tuple(node for node in self.nodes if isinstance(node, Source))

    @property
    def global_tables(self) -> tuple[Source, ...]:
        """The sources that every process reads completely."""
        return tuple(source for source in self.sources if source.broadcast)

    @property
    def has_asynchronous_calls(self) -> bool:
        """Whether any step calls a coroutine function."""
        return any(node.asynchronous for node in self.nodes)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The nodes that write topics or call user functions with their values."""
        return tuple(node for node in self.nodes if isinstance(node, Sink))


def _refuse_former(nodes: Sequence[Node], stores: Mapping[str, Node]) -> None:
    """Raise TopologyError if the former name of a store is that of a store, or of two."""
    claimed: dict[str, str] = {}
    for node in nodes:
        for state in node.stores:
            for former in state.spec.was:
                other = former if former in stores else claimed.setdefault(former, state.spec.name)
                if other != state.spec.name:
                    raise TopologyError(
                        f"store {state.spec.name!r} of step {node.name!r} cannot have been {former!r}: the store "
                        f"{other!r} {'has that name' if other == former else 'was that, too'}; remove one was="
                    )


def check_name(name: str, what: str) -> None:
    """Raise TopologyError unless `name` can be part of a Kafka topic's name."""
    if not LEGAL_NAME.fullmatch(name) or name in (".", ".."):
        raise TopologyError(
            f"{what} name {name!r} is not usable: internal topics are named after it, so it may have letters, "
            "digits, '.', '_' and '-' only, 180 at most"
        )
