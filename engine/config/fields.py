"""Metadata of a setting, and how a field of `Settings` declares it.

The settings themselves are declared in `settings.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .values import Kind

__all__ = ["Setting", "about", "declare"]


@dataclass(frozen=True)
class Setting:
    """The metadata of one setting."""

    name: str
    group: str
    kind: Kind
    meaning: str
    option: str
    """The command-line option."""
    in_file: str
    """Its place in tidemill.toml: a name, or table.name."""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"TIDEMILL_{self.name.upper()}"


def about(group: str, kind: Kind, meaning: str, in_file: str | None = None) -> dict[str, Any]:
    """Return the metadata of a field of `Settings`."""
    return {"group": group, "kind": kind, "meaning": meaning, "in_file": in_file}


def declare(default: Any, group: str, kind: Kind, meaning: str, *, in_file: str | None = None) -> Any:
    """Return a field of `Settings` that has a default."""
    return dataclasses.field(default=default, metadata=about(group, kind, meaning, in_file))
