"""The source files of the repository and their syntax trees, for the architecture tests."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "parsed", "sources"]

ROOT = Path(__file__).parent.parent.parent


@cache
def parsed(source: str) -> ast.Module:
    """Return the syntax tree of a source text, parsed once per process."""
    return ast.parse(source)


def sources(*folders: str) -> list[Path]:
    """Return the Python files of these folders of the repository, in order."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
