"""The names of the step with all agents, and of its stores."""

from __future__ import annotations

from typing import Final

__all__ = ["EVENTS", "STEP", "rows_suffix", "table_store"]

STEP: Final = "agents"
EVENTS: Final = "events"


def rows_suffix(table: str) -> str:
    """Return the suffix of the store of a table."""
    return f"table-{table}"


def table_store(table: str) -> str:
    """Return the name of the store of a table."""
    return f"{STEP}-{rows_suffix(table)}"
