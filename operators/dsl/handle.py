"""The base of streams and tables: a name, an error policy and, after some steps, a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import Self

from ..building.stream_reference import StreamReference
from ..errors import TopologyError
from ..policy import ErrorPolicy

__all__ = ["Handle", "Stored"]


class Handle:
    """A place in the program: what a step gives, or the end of a chain such as `.to(topic)`.

    Example:
        >>> end = orders.to("orders-copy").named("copy")
    """

    def __init__(self, reference: StreamReference) -> None:
        self.reference = reference

    def named(
        self,
        name: str,
        *,
        was: str | Sequence[str] = (),
        migrate: Callable[[Any], Any] | Sequence[Callable[[Any], Any]] | None = None,
    ) -> Self:
        """Names the step before it, and with it the step's store and internal topics.

        Steps without a name of their own are named after their inputs and their kind. A name that stays the same lets
        the state survive changes of the program around it.

        Args:
            name: Letters, digits, `.`, `_` and `-`; unique in the program.
            was: The name that the step had before, or several of them: the state comes along. It stays in the program,
                because the internal topics of a step keep the names under which they were created.
            migrate: A function from a value as an earlier version has stored it to the value of this version, or a list
                of such, the oldest first. Each stored value passes through each function once, when it is read. The
                old value is plain data (objects are dicts), or of the type with which the argument is annotated. The
                functions stay in the program.

        Raises:
            TopologyError: The name is in use, or cannot be part of a topic's name; a former name is that of a step of
                the program, or of two steps; the step keeps no value that can be migrated.

        Example:
            >>> totals = orders.group_by_key().count().named("totals")  # a store that is called "totals"
            >>> rows = orders.group_by_key().count().named("per-customer", was="counts")
            >>> def with_currency(old: dict) -> dict:
            ...     return {"pieces": old["pieces"], "price": {"amount": old["price"], "currency": "EUR"}}
            >>> newest = orders.group_by_key().reduce(lambda one, other: other).named("newest", migrate=with_currency)
        """
        self.reference.builder.rename(self.reference.step, name, was, migrate)
        return self

    def on_error(self, policy: ErrorPolicy) -> Self:
        """Set what happens to a record that the step before it cannot process.

        It holds for the step's repartition too and, for a table, for its source. Other steps do what `App(on_error=)`
        says.

        Args:
            policy: `tm.fail` or `tm.skip`.

        Raises:
            TopologyError: It is neither.

        Example:
            >>> pieces = orders.map(lambda order: order["pieces"]).on_error(tm.skip)
        """
        if not isinstance(policy, ErrorPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f".on_error() takes tm.fail or tm.skip, not {policy!r}")
        self.reference.step.policy = policy
        return self


class Stored(Handle):
    """A place after a step that keeps state."""

    def in_memory(self) -> Self:
        """Keep the step's store in memory instead of on disk; the changelog stays the same.

        Raises:
            TopologyError: The step has no store.

        Example:
            >>> totals = orders.group_by_key().count().in_memory()
        """
        if not self.reference.step.durable:
            raise TopologyError(f".in_memory(): a {self.reference.step.kind} has no store")
        self.reference.step.store = "memory"
        return self
