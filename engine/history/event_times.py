"""The oldest and the newest event time of rows, in ms.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from .columns import to_ms

__all__ = ["ends_in", "known_ends"]

pa: Final[Any] = import_module("pyarrow")
pc: Final[Any] = import_module("pyarrow.compute")


def known_ends(low: Any, high: Any, of: Any) -> tuple[int, int]:
    """Return those that statistics have, which are of a type of Arrow."""
    oldest, newest = to_ms(pa.array([low, high], of)).to_pylist()
    return oldest, newest


def ends_in(column: Any) -> tuple[int, int]:
    """Return those of a column, 0 if it has none."""
    ends = pc.min_max(to_ms(column))
    return ends["min"].as_py() or 0, ends["max"].as_py() or 0
