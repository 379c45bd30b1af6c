"""A step of a topology under construction."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.topology import Input
from ..policy import ErrorPolicy
from ..stores.migration import Migration
from ..time.watermark import Watermark
from .nodes import StoreKind
from .specs import StepSpec

__all__ = ["StepDefinition"]


class StepDefinition:
    """The specification of a step, its place in the graph, and the user's options for it."""

    def __init__(self, number: int, spec: StepSpec, inputs: Sequence[Input], reads: Sequence[StepDefinition]) -> None:
        self.id = number
        self.spec = spec
        self.inputs = tuple(inputs)
        self.reads = tuple(reads)
        """The steps whose stores it reads: global tables, and tables in the same task."""
        self.made_for: StepDefinition | None = None
        """The step that gives this one its name.

        That is the keyed step for a repartition and the other parts of a join, and the table for its source.
        """
        self.role = ""
        """The role in that step, if it has several parts."""
        self.sides: list[str] = []
        """The side outputs that are read, by port; the ports follow those of the specification."""
        self.name: str | None = None
        self.was: tuple[str, ...] = ()
        """The former names that the user gives with the name."""
        self.migrations: tuple[Migration, ...] = ()
        """What is done with stored values of earlier versions."""
        self.store: StoreKind | None = None
        self.policy: ErrorPolicy | None = None
        self.watermark: Watermark | None = None
        """The watermark that the user gives a source."""

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def durable(self) -> bool:
        """Whether durable data is named after it."""
        return self.spec.durable

    @property
    def effective_policy(self) -> ErrorPolicy | None:
        """The policy of this step, or else of the step it is made for; None if neither has one."""
        return self.policy or (None if self.made_for is None else self.made_for.policy)

    def store_kind(self, default: StoreKind) -> StoreKind:
        """Return the kind of its stores: its own, or of the step it is made for, or the default."""
        return self.store or (None if self.made_for is None else self.made_for.store) or default
