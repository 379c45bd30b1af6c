"""The topology builder: streams and tables add steps, and it makes a frozen `Topology`.

It resolves what depends on the whole program: names, which tables must send old rows, the watermark of each step. It
does not depend on what a step does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ..graph.input_copies import private_inputs
from ..graph.topology import Input, Node, Topology, check_name
from ..graph.value_checks import inputs_to_try
from ..stores.migration import Migration, checked_migrations
from ..time.watermark import Watermark, together
from .combined_topics import combined_topics, combining_specs
from .names import former_names, names_of
from .nodes import ResolvedStep, StoreKind, node_of
from .own_topics import needless_topics
from .specs import RepartitionSpec, SinkSpec, StepSpec
from .step import StepDefinition

__all__ = ["TopologyBuilder", "checked_former"]


class TopologyBuilder:
    """A topology under construction."""

    def __init__(self, *, store: StoreKind = "rocksdb") -> None:
        self.store: Final = store
        self._steps: list[StepDefinition] = []

    def add(
        self, spec: StepSpec, inputs: Sequence[Input] = (), *, reads: Sequence[StepDefinition] = ()
    ) -> StepDefinition:
        """Add a step that reads `inputs`, and the stores of the steps `reads`."""
        step = StepDefinition(len(self._steps), spec, inputs, reads)
        self._steps.append(step)
        return step

    def rename(
        self,
        step: StepDefinition,
        name: str,
        was: str | Sequence[str] = (),
        migrate: Migration | Sequence[Migration] | None = None,
    ) -> None:
        """Set the name of a step, its former names and its migrations, as given by the user."""
        check_name(name, "step")
        step.name, step.was, step.migrations = name, checked_former(was), checked_migrations(migrate, name)

    def steps_to(self, step: StepDefinition) -> list[StepDefinition]:
        """Return a step and those before it in the same task, from the sources and repartitions on."""
        found = {step.id: step}
        for one in (pending := [step]):
            if not isinstance(one.spec, RepartitionSpec):
                for edge in one.inputs:
                    if edge.node not in found:
                        found[edge.node] = self._steps[edge.node]
                        pending.append(found[edge.node])
        return list(found.values())

    def topology(self) -> Topology:
        """Return the current program, checked and frozen."""
        names, updates, watermarks = names_of(self._steps), self._updates(), self._watermarks()
        former = former_names(self._steps, names)
        needless, written = needless_topics(self._steps), self._written()
        combined = combined_topics(self._steps, updates)
        readers = frozenset(reader.id for reader in combined.values())
        nodes: list[Node] = []
        for step in self._steps:
            if step.id in needless:
                continue
            resolved = ResolvedStep(
                id=step.id,
                name=names[step.id],
                was=former[step.id],
                migrations=step.migrations,
                inputs=tuple(Input(needless[one.node]) if one.node in needless else one for one in step.inputs),
                sides=tuple(step.sides),
                reads=tuple(table.spec.stores[0].name(names[table.id]) for table in step.reads),
                migrated=max((len(table.migrations) for table in step.reads), default=0),
                store=step.store_kind(self.store),
                updates_in=any(updates[edge.node] for edge in step.inputs),
                updates_out=updates[step.id],
                combined=step.id in readers,
                written=step.id in written,
                policy=step.effective_policy,
                watermark=watermarks[step.id],
            )
            if (reader := combined.get(step.id)) is None:
                nodes.append(node_of(step.spec, resolved))
            else:
                specs = combining_specs(step, reader, self._steps)
                before = replace(resolved, id=len(self._steps) + step.id, was=())
                if len(specs) == 2:
                    nodes.append(node_of(specs[0], before))
                    resolved = replace(resolved, inputs=(Input(before.id),))
                nodes.append(node_of(specs[-1], resolved))
        private, tries = private_inputs(nodes), inputs_to_try(nodes)
        return Topology.of(
            [replace(node, private=private.get(node.id, ()), tries=tries.get(node.id, ())) for node in nodes]
        )

    def _updates(self) -> list[bool]:
        """Return, for each step, whether a step downstream needs the old rows."""
        wanted = [False] * len(self._steps)
        for step in reversed(self._steps):
            if step.spec.asks == "old" or (step.spec.asks == "same" and wanted[step.id]):
                for edge in step.inputs:
                    wanted[edge.node] = True
        return wanted

    def _written(self) -> frozenset[int]:
        """Return the steps whose only reader is a sink that writes one topic."""
        readers = Counter(edge.node for step in self._steps for edge in step.inputs)
        found: set[int] = set()
        for step in reversed(self._steps):
            writes = isinstance(step.spec, SinkSpec) and isinstance(step.spec.topic, str)
            if writes or (step.spec.relays and step.id in found):
                found.update(edge.node for edge in step.inputs if readers[edge.node] == 1)
        return frozenset(found)

    def _watermarks(self) -> list[Watermark | None]:
        """Return, for each step, the watermark of its time."""
        found: list[Watermark | None] = []
        for step in self._steps:
            found.append(step.watermark or together(found[edge.node] for edge in step.inputs))
        return found


def checked_former(was: str | Sequence[str]) -> tuple[str, ...]:
    """Return former names as a tuple. Raises TopologyError if one cannot have been a name."""
    names = (was,) if isinstance(was, str) else tuple(was)
    for name in names:
        check_name(name, "former step")
    return names
