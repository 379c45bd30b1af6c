"""What a program is: a frozen graph of steps.

A `Topology` is the value between the fluent interface, which draws it, and the planner, which cuts it into tasks.
Every node knows its inputs, its stores and how to build the operator that runs it. Nothing here runs, reads a clock or
knows Kafka; the checks of `Topology.of` make a graph valid by construction.

    Source --> Step --> Step --> Repartition --> Step --> Sink
               (0..n inputs, 1..n output ports, 0..n stores)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from ...state.cache import Codec, StateCache
from ...state.store import StoreSpec
from ..errors import TopologyError
from ..policy import ErrorPolicy
from ..record import Record
from ..serdes.base import Serde
from ..time.event_time import TimeFunction
from ..time.watermark import Watermark
from .operator import Operator

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
    "Topology",
    "check_name",
]

Caches = Mapping[str, StateCache[Any, Any]]
"""The caches of a step's stores, by store name."""

LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,180}")


class Rows(Protocol):
    """A global table as a step sees it that reads it."""

    def __getitem__(self, key: Any, /) -> Any:
        """The entry under a key, None when there is none."""
        ...


class Input(NamedTuple):
    """An edge: the output `port` of the node with id `node`."""

    node: int
    port: int = 0


@dataclass(frozen=True)
class StoreView:
    """How people see a store: from their key to the cache's key, and back from its entries to theirs."""

    to_key: Callable[[Any], Any] = lambda key: key
    from_key: Callable[[Any], Any] = lambda key: key
    from_value: Callable[[Any], Any] = lambda value: value
    """None for an entry in which there is nothing for people to see."""
    timestamp: Callable[[Any], int | None] = lambda value: None
    """The event time of an entry, where it has one."""
    visible: Callable[[Any], bool] = lambda key: True
    """False for entries that are the step's own bookkeeping, such as its stream time."""
    as_of: Callable[[Any, Any, int], Any] | None = None
    """The entry of a key, as people know it, that was valid at a time; None for a store without a history."""


@dataclass(frozen=True)
class OperatorState:
    """A store of a step: what it is on disk, how its entries are encoded, how people see it."""

    spec: StoreSpec
    codec: Codec[Any, Any]
    view: StoreView = field(default_factory=StoreView)
    shape: str = ""
    """What it is in a few words that must not change under its name; see `stores/schema.py`."""


@dataclass(frozen=True)
class Node:
    """One step. `id` says who is meant within this graph; `name` is what people, stores and internal topics see."""

    id: int
    name: str
    kind: str
    inputs: tuple[Input, ...]
    build: Callable[[Caches], Operator] = field(repr=False)
    ports: tuple[str, ...] = ("",)
    stores: tuple[OperatorState, ...] = ()
    keyed: bool = False
    """True when records of one key must meet in one task: all topics that feed it need the same partitioning."""
    tagged: bool = False
    """True when the operator wants `(slot, Record)` pairs, slot being the index of the input."""
    policy: ErrorPolicy | None = None
    """What happens to a record that fails here, where that is not what the application says."""
    watermark: Watermark | None = None
    """How its time is told, when the sources upstream have watermarks: then `advance` moves it, and nothing else."""
    reads: tuple[str, ...] = ()
    """Global tables that it looks into, by the names of their stores: `build` finds them among the caches."""
    calls: bool = True
    """False when it calls no function of the user's."""
    holds: bool = False
    """True for a fold that keeps, in its state, values which are in its results."""
    keeps: tuple[Serde[Any] | None, ...] = ()
    """For each input, the serde with which the step stores its values; None, or nothing, where it stores none."""
    keeps_keys: Serde[Any] | None = None
    """The serde with which it stores keys that no serde has written yet."""
    gives: Serde[Any] | None = None
    """A serde that can write all of its results, as far as one is known."""
    tries: tuple[Serde[Any] | None, ...] = ()
    """Those of `keeps` whose input may have values that the serde cannot write: see `value_checks.py`."""
    private: tuple[bool, ...] = ()
    """For each input, whether the operator gets copies of values: see `input_copies.py`. Empty when it gets none."""
    disorder: int | None = None
    """How many ms its input may be out of order before records are dropped as late; None when none ever is."""
    in_order: bool = False
    """True when its inputs are to be taken in order of event time as long as there is a backlog: a stream with a table.
    """
    behind: int = 0
    """How many ms what it sends may be older than its own time: steps downstream are told a time that much older."""


@dataclass(frozen=True)
class Source(Node):
    """Reads topics. `start` says where a group without committed offsets begins."""

    topics: tuple[str, ...] = ()
    pattern: str | None = None
    key: Serde[Any] | None = None
    value: Serde[Any] | None = None
    timestamp: TimeFunction | None = None
    """Gives the event time; it is the record's own timestamp when absent."""
    partition_time: bool = False
    """True when a record without a valid time gets the newest of its partition so far."""
    start: str | datetime = "earliest"
    broadcast: bool = False
    """True for a global table: every instance reads all partitions into a store of its own, which tasks look into."""


@dataclass(frozen=True)
class Sink(Node):
    """Writes a topic, or topics chosen record by record, or hands values to a function of the user's.

    Its operator returns a list of `Outgoing`.
    """

    topic: str | Callable[[Record[Any, Any]], str] | None = None
    key: Serde[Any] | None = None
    value: Serde[Any] | None = None


@dataclass(frozen=True)
class Repartition(Node):
    """Writes an internal topic and reads it again, so that records with one key meet in one task.

    Its operator is the writing half and leaves `Outgoing.topic` empty: the planner knows the topic's name.
    """

    key: Serde[Any] | None = None
    value: Serde[Any] | None = None
    partitions: int | None = None


@dataclass(frozen=True)
class Topology:
    """A whole program: nodes in an order in which every node follows its inputs."""

    nodes: tuple[Node, ...]

    @staticmethod
    def of(nodes: Sequence[Node]) -> Topology:
        """Checks the graph and freezes it.

        Raises TopologyError when there is nothing to run, a name is not legal in a topic's name, two steps or stores
        have the same name, or a step's input is missing. A repartition may have the name of the step it is made for.
        """
        if not any(isinstance(node, Source) and not node.broadcast for node in nodes):
            raise TopologyError("the program reads nothing: begin with app.stream(topic) or app.table(topic)")
        seen: dict[tuple[str, bool], Node] = {}
        stores: dict[str, Node] = {}
        earlier: set[int] = set()
        for node in nodes:
            check_name(node.name, "step")
            place = node.name, isinstance(node, Repartition)
            if place in seen:
                other = seen[place]
                raise TopologyError(
                    f"two steps would be called {node.name!r} (a {other.kind} and a {node.kind}); "
                    "name one of them yourself with .named('...'): stores and internal topics are called after steps"
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
        return Topology(tuple(nodes))

    def node(self, node_id: int) -> Node:
        """The node with this id; KeyError when there is none."""
        return self._by_id[node_id]

    def consumers(self, node_id: int) -> tuple[Node, ...]:
        """The nodes that read any port of this one, in order of definition."""
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
        """The sources that every instance reads whole."""
        return tuple(source for source in self.sources if source.broadcast)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The nodes that write topics or hand values to the user's functions."""
        return tuple(node for node in self.nodes if isinstance(node, Sink))


def check_name(name: str, what: str) -> None:
    """Raises TopologyError unless `name` can be a part of a Kafka topic's name."""
    if not LEGAL_NAME.fullmatch(name) or name in (".", ".."):
        raise TopologyError(
            f"{what} name {name!r} is not usable: internal topics are called after it, so it may have letters, "
            "digits, '.', '_' and '-' only, 180 at most"
        )
