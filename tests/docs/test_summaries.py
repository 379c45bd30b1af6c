"""Each docstring of the product, the examples and the benchmark has a short summary."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 90
FOLDERS = ("state", "operators", "engine", "examples", "bench", "docker", ".ci")
FILES = [*(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")), *ROOT.glob("*.py")]


def test_summaries_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {len(summary)} characters: {summary}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        for summary in [" ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())]
        if len(summary) > LONGEST
    ]
    assert not long, "\n".join(long)
