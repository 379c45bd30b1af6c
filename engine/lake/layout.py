"""Which columns the rows of a sink have, by its arguments and by what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ...operators.errors import TopologyError
from ...operators.graph.target import TargetInput

__all__ = ["LakeColumns"]


@dataclass(frozen=True)
class LakeColumns:
    """The columns that the arguments of a target state."""

    values: tuple[Any, ...] | None
    keys: tuple[Any, ...] | None
    timestamp: str | None

    @classmethod
    def stated(
        cls, function: str, columns: Mapping[str, Any] | None, key: Mapping[str, Any] | None, timestamp: str | None
    ) -> LakeColumns:
        """Return the columns that arguments of these names state. Raises TopologyError."""
        given_columns = _columns().given_columns
        return cls(
            None if columns is None else given_columns(columns, f"{function}(columns=)"),
            None if key is None else given_columns(key, f"{function}(key=)"),
            timestamp,
        )

    def layout(self, given: TargetInput, where: str) -> Any:
        """Return the columns of the rows of what a sink reads; `where` begins a message.

        Raises TopologyError.
        """
        module = _columns()
        keys = self.keys or (module.key_columns(given.key) if given.table else ())
        layout = module.RowLayout(given, keys, self.values or module.value_columns(given.value), self.timestamp)
        names = layout.schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TopologyError(
                f"{where}: two columns would be called {', '.join(twice)}; give the key another name, such as "
                'key={"id": "string"}, or state the columns of the value with columns='
            )
        return layout


def _columns() -> Any:
    return import_module(f"{__package__}.columns")
