"""What is counted of a schema registry."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RegistryFigures"]


@dataclass
class RegistryFigures:
    """The figures of one registry; changed by its thread, read by others."""

    url: str
    requests: int = 0
    """Schemas asked for with an answer."""
    failures: int = 0
    """Attempts without an answer."""
    up: bool = True
    """Whether it answered the last attempt."""
