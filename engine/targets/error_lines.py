"""Errors of the clients of targets, as they are shown."""

from __future__ import annotations

__all__ = ["error_line"]


def error_line(error: Exception) -> str:
    """Return an error in one line, with its type."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
