"""The changes of a table that several staged rows make together.

Imported only where a target needs it, because it needs pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from .columns import DELETED

__all__ = ["RowChanges", "changes_of"]

pa: Final[Any] = import_module("pyarrow")
pc: Final[Any] = import_module("pyarrow.compute")


class RowChanges(NamedTuple):
    """What becomes of a table."""

    keys: Any
    """All keys that change; rows with them are replaced. None if rows are only appended."""
    rows: Any
    """The new rows."""
    last: Any
    """The last staged row of each key, with `DELETED`."""


def changes_of(staged: Any, keys: Sequence[str]) -> RowChanges:
    """Return the last change of each key, or the rows as they are if there are no keys."""
    if not keys:
        return RowChanges(None, staged, staged)
    numbered = staged.append_column("number", pa.array(range(staged.num_rows), pa.int64()))
    last = numbered.group_by(list(keys)).aggregate([("number", "max")])["number_max"].sort()
    rows = staged.take(last)
    kept = rows.filter(pc.invert(rows[DELETED])).drop_columns([DELETED])
    return RowChanges(rows.select(list(keys)), kept, rows)
