"""What is known of a setting besides its value, and how a field of `Settings` says it.

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
    """What is known of one setting besides its value."""

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
    """What a field of `Settings` knows besides its default."""
    return {"group": group, "kind": kind, "meaning": meaning, "in_file": in_file}


def declare(default: Any, group: str, kind: Kind, meaning: str, *, in_file: str | None = None) -> Any:
    """A field of `Settings` that has a default."""
    return dataclasses.field(default=default, metadata=about(group, kind, meaning, in_file))
