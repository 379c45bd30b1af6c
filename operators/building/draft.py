"""The graph while it is being written: what the fluent handles add to, and what becomes a frozen `Topology`.

The draft decides names and which tables must say what a row was before; it does not know what any step does. Names:

    .named("x") wins. Sources are called after their topics. A step with a store, or a repartition, has a name that
    something durable hangs on, so it never depends on the order of definition: `<lineage>-<kind>`, where the lineage is
    the nearest named or stored step or source upstream; two that would be the same are refused by the topology. A
    repartition without a name takes that of the first keyed step it is made for. Names of other steps are for people:
    they get a number where needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from ...state.store import StoreSpec
from ..errors import TopologyError
from ..graph.input_copies import private_inputs
from ..graph.topology import Input, Node, Source, Topology, check_name
from ..graph.value_checks import inputs_to_try
from ..policy import ErrorPolicy
from ..serdes.base import Serde, check_serde, raw
from ..serdes.hashable import check_key_serde
from ..time.durations import parse_duration
from ..time.event_time import TimeFunction, check_time_function
from ..time.watermark import Watermark, together

__all__ = ["Asks", "Draft", "OnInvalid", "Pattern", "Settled", "Step", "StoreKind", "nothing_to_run"]

Asks = Literal["new", "old", "same"]
OnInvalid = Literal["skip", "partition_time"]
StoreKind = Literal["rocksdb", "memory"]


@dataclass(frozen=True)
class Pattern:
    """A regular expression that names topics."""

    regex: str


@dataclass(frozen=True)
class Settled:
    """What a step learns of itself when the program is complete."""

    id: int
    name: str
    inputs: tuple[Input, ...]
    updates_in: bool
    """True when the records of its input carry `Update` values."""
    updates_out: bool
    """True when its own records must."""
    store: StoreKind
    sides: tuple[str, ...]
    """Side outputs that are read."""
    watermark: Watermark | None = None
    """How its time is told when a source upstream has a watermark: then `advance` moves it, and records do not."""
    reads: tuple[str, ...] = ()
    """The names of the global tables that it reads."""

    def spec(self, attribute: str = "", name: str | None = None) -> StoreSpec:
        """The step's store, or one of several; one may have a name of its own."""
        return StoreSpec(name or (f"{self.name}-{attribute}" if attribute else self.name), self.store)


class Step:
    """A step as it is being defined: everything is known but the names."""

    def __init__(
        self,
        number: int,
        kind: str,
        inputs: tuple[Input, ...],
        make: Callable[[Settled], Node],
        *,
        default: str | None,
        durable: bool,
        asks: Asks,
        reads: Sequence[Step],
        made_for: Step | None,
    ) -> None:
        self.id = number
        self.kind = kind
        self.inputs = inputs
        self.make = make
        self.default = default
        self.durable = durable
        self.asks: Asks = asks
        self.reads = tuple(reads)
        self.made_for = made_for
        """The keyed step that gives it its name: for a repartition, and for the other parts of a join. For a table's
        source: the table."""
        self.role = ""
        """Which part of that step it is, where there are several."""
        self.sides: list[str] = []
        """Side outputs that are read, in the order of their ports after the first."""
        self.name: str | None = None
        self.store: StoreKind | None = None
        self.policy: ErrorPolicy | None = None
        self.watermark: Watermark | None = None
        """What its user says of a source."""

    @property
    def settled_policy(self) -> ErrorPolicy | None:
        """What happens to a record that fails: what was said of this step, or else of the one it is made for."""
        return self.policy or (None if self.made_for is None else self.made_for.policy)


class Draft:
    """A program as it is being written."""

    def __init__(self, *, store: StoreKind = "rocksdb") -> None:
        self.store: Final = store
        self._steps: list[Step] = []

    def add(
        self,
        kind: str,
        inputs: Sequence[Input],
        make: Callable[[Settled], Node],
        *,
        default: str | None = None,
        durable: bool = False,
        asks: Asks = "new",
        reads: Sequence[Step] = (),
    ) -> Step:
        """Adds a step; `make` is called with its name when the program is complete.

        `default` is its name unless it is given one. `asks` says what it wants of the tables it reads: rows as they
        are, updates with the old row too, or whatever is asked of itself. `reads` are the global tables it looks into.
        """
        step = Step(
            len(self._steps),
            kind,
            tuple(inputs),
            make,
            default=default,
            durable=durable,
            asks=asks,
            reads=reads,
            made_for=None,
        )
        self._steps.append(step)
        return step

    def source(
        self,
        topics: str | Sequence[str] | Pattern,
        key: Serde[Any] | None,
        value: Serde[Any] | None,
        timestamp: TimeFunction | None,
        start: str | datetime,
        name: str | None,
        on_invalid: OnInvalid = "skip",
        *,
        for_table: bool = False,
    ) -> Step:
        """Adds a source."""
        regex = topics.regex if isinstance(topics, Pattern) else None
        names = () if isinstance(topics, Pattern) else (topics,) if isinstance(topics, str) else tuple(topics)
        if regex is None and not names:
            raise TopologyError("a source needs at least one topic")
        for topic in names:
            check_name(topic, "topic")
        shown = "-".join(names) or "pattern"
        check_start(start, shown)
        if timestamp is not None:
            check_time_function(timestamp, f"the source {shown!r}: timestamp=")
        if on_invalid not in ("skip", "partition_time"):
            raise TopologyError(f"the source {shown!r}: on_invalid= is 'skip' or 'partition_time', not {on_invalid!r}")
        key_serde = check_key_serde(key, f"the key of source {shown!r}: ")
        value_serde = check_serde(value, f"the value of source {shown!r}: ")

        def make(settled: Settled) -> Node:
            return Source(
                settled.id,
                settled.name,
                "source",
                (),
                build=nothing_to_run,
                topics=names,
                pattern=regex,
                key=key_serde or raw,
                value=value_serde or raw,
                timestamp=timestamp,
                partition_time=on_invalid == "partition_time",
                start=start,
            )

        step = self.add("source", (), make, default=f"{shown}-source" if for_table else shown)
        if name is not None and not for_table:
            self.rename(step, name)
        return step

    def rename(self, step: Step, name: str) -> None:
        """Gives a step the name its user wants."""
        check_name(name, "step")
        step.name = name

    def topology(self) -> Topology:
        """The program as it is now, checked and frozen."""
        names = _Names(self._steps).all()
        updates = self._updates()
        watermarks = self._watermarks()
        nodes: list[Node] = []
        for step in self._steps:
            updates_in = any(updates[edge.node] for edge in step.inputs)
            settled = Settled(
                step.id,
                names[step.id],
                step.inputs,
                updates_in,
                updates[step.id],
                step.store or (step.made_for.store if step.made_for else None) or self.store,
                tuple(step.sides),
                watermarks[step.id],
                tuple(names[table.id] for table in step.reads),
            )
            nodes.append(replace(step.make(settled), policy=step.settled_policy, watermark=watermarks[step.id]))
        private, tries = private_inputs(nodes), inputs_to_try(nodes)
        return Topology.of(
            [replace(node, private=private.get(node.id, ()), tries=tries.get(node.id, ())) for node in nodes]
        )

    def _updates(self) -> list[bool]:
        """For each step, whether a step downstream wants to know what its rows were before."""
        wanted = [False] * len(self._steps)
        for step in reversed(self._steps):
            if step.asks == "old" or (step.asks == "same" and wanted[step.id]):
                for edge in step.inputs:
                    wanted[edge.node] = True
        return wanted

    def _watermarks(self) -> list[Watermark | None]:
        """For each step, how its time is told."""
        found: list[Watermark | None] = []
        for step in self._steps:
            found.append(step.watermark or together(found[edge.node] for edge in step.inputs))
        return found


class _Names:
    """The names of all steps."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._lineages: list[str] = []
        for step in steps:
            self._lineages.append(self._lineage(step))

    def all(self) -> list[str]:
        """Names by step id."""
        names: list[str | None] = [self._fixed(step) for step in self._steps]
        taken = set(names)
        for step in self._steps:
            if names[step.id] is None:
                base = step.default or f"{self._lineage_of_inputs(step)}-{step.kind}"
                name, number = base, 2
                while name in taken:
                    name, number = f"{base}-{number}", number + 1
                names[step.id] = name
                taken.add(name)
        return [name or "" for name in names]

    def _fixed(self, step: Step) -> str | None:
        """The name of a step that was given one or that something durable hangs on."""
        if step.name is not None:
            return step.name
        if step.made_for is not None and step.kind != "source":
            return "-".join(filter(None, (self._fixed(step.made_for), step.role)))
        if step.kind == "repartition":
            return self._lineages[step.id]
        if step.durable:
            return step.default or f"{self._lineage_of_inputs(step)}-{step.kind}"
        return None

    def _lineage(self, step: Step) -> str:
        if step.kind == "source":
            return step.name or step.default or step.kind
        if step.made_for is not None and step.kind != "repartition":
            return self._lineages[step.inputs[-1].node]  # what it adds to the step it is a part of
        if (step.durable and step.kind != "repartition") or (step.name is not None and step.durable):
            return self._fixed(step) or step.kind
        return self._lineage_of_inputs(step)

    def _lineage_of_inputs(self, step: Step) -> str:
        return "-".join(dict.fromkeys(self._lineages[edge.node] for edge in step.inputs))


def check_start(start: object, source: str) -> None:
    """Raises TopologyError unless `start` says where a group without committed offsets can begin."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise TopologyError(f"the start of source {source!r}: {start!r} has no time zone")
        return
    if start in ("earliest", "latest"):
        return
    if isinstance(start, str) and start.endswith(" ago"):
        parse_duration(start.removesuffix(" ago"), f"the start of source {source!r}")
        return
    raise TopologyError(
        f"the start of source {source!r}: {start!r} is none of 'earliest', 'latest', '24h ago' and a datetime"
    )


def nothing_to_run(_caches: object) -> Any:
    """The operator of a node that has none."""
    raise AssertionError("a source is read by its decoder")
