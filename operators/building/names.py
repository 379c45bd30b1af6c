"""The names of steps, which determine the names of stores and internal topics.

`.named("x")` has priority. A source is named after its topics. The name of a step with a store, or of a repartition,
must not depend on the order of definition, because durable data depends on it: it is `<lineage>-<kind>`, where the
lineage is the nearest named or stored step or source upstream; the topology rejects two steps with the same name. A
repartition without a name has the name of the first keyed step that it is made for. Names of other steps are for
display only: they get a number if needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product

from ..errors import TopologyError
from .step import StepDefinition

__all__ = ["former_names", "names_of"]

MOST = 1_000
"""Combinations of former names: more are of no program."""


def names_of(steps: Sequence[StepDefinition], given: Mapping[int, str] | None = None) -> list[str]:
    """Return the names of all steps by id; `given` replaces names that the user gives."""
    return _Names(steps, given or {}).all()


def former_names(steps: Sequence[StepDefinition], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the former names of each step with durable data; `names` are the present ones.

    A name that is derived from that of a renamed step has changed with it. Several steps may have been renamed at
    different times, so their former and present names occur in all combinations. Raises TopologyError if a former name
    is that of a step, or of two steps.
    """
    renamed = [step for step in steps if step.was]
    _refuse_claims(renamed, names)
    found: list[dict[str, None]] = [{} for _ in steps]
    choices = product(*((names[step.id], *step.was) for step in renamed))
    for chosen in islice(choices, 1, MOST):
        before = names_of(steps, {step.id: name for step, name in zip(renamed, chosen, strict=True)})
        for step, name in zip(steps, before, strict=True):
            if step.durable and name != names[step.id]:
                found[step.id][name] = None
    return [tuple(former) for former in found]


def _refuse_claims(renamed: Sequence[StepDefinition], names: Sequence[str]) -> None:
    claimed: dict[str, str] = {}
    for step in renamed:
        mine = names[step.id]
        for former in step.was:
            if former in names:
                what = "that is its name" if former == mine else f"the program has a step {former!r}"
                raise TopologyError(
                    f"step {mine!r} cannot have been {former!r}: {what}. was= takes names that no step has any more"
                )
            other = claimed.setdefault(former, mine)
            if other != mine:
                raise TopologyError(
                    f"the steps {other!r} and {mine!r} both were {former!r}, but its state can go to one of them only: "
                    "remove one was="
                )


class _Names:
    """The computation of the names of steps."""

    def __init__(self, steps: Sequence[StepDefinition], given: Mapping[int, str]) -> None:
        self._steps = steps
        self._given = given
        self._lineages: list[str] = []  # by step id
        for step in steps:
            self._lineages.append(self._lineage(step))

    def all(self) -> list[str]:
        """Return the names by step id."""
        names: list[str | None] = [self._fixed(step) for step in self._steps]
        taken = set(names)
        for step in self._steps:
            if names[step.id] is None:
                base = step.spec.default_name or f"{self._lineage_of_inputs(step)}-{step.kind}"
                name, number = base, 2
                while name in taken:
                    name, number = f"{base}-{number}", number + 1
                names[step.id] = name
                taken.add(name)
        return [name or "" for name in names]

    def _fixed(self, step: StepDefinition) -> str | None:
        """Return the name of a step that has a given name or durable data, else None."""
        if step.name is not None:
            return self._given.get(step.id, step.name)
        if step.made_for is not None and step.kind != "source":
            return "-".join(filter(None, (self._fixed(step.made_for), step.role)))
        if step.kind == "repartition":
            return self._lineages[step.id]
        if step.durable:
            return step.spec.default_name or f"{self._lineage_of_inputs(step)}-{step.kind}"
        return None

    def _lineage(self, step: StepDefinition) -> str:
        if step.kind == "source":
            return self._given.get(step.id, step.name or step.spec.default_name or step.kind)
        if step.made_for is not None and step.kind != "repartition":
            return self._lineages[step.inputs[-1].node]  # its part of that step's lineage
        if (step.durable and step.kind != "repartition") or (step.name is not None and step.durable):
            return self._fixed(step) or step.kind
        return self._lineage_of_inputs(step)

    def _lineage_of_inputs(self, step: StepDefinition) -> str:
        return "-".join(dict.fromkeys(self._lineages[edge.node] for edge in step.inputs))
