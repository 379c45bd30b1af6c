"""Tests that examples only use public names, and that the numbered ones fit on a page."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

import tidemill
from tests.support.source_files import ROOT, parsed, sources


def not_public(tree: ast.AST, public: set[str]) -> Iterator[tuple[int, str]]:
    """(line, what) for each thing of the package that a program uses and that is not promised to it."""
    handles = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "tidemill"
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, a.name) for a in names if a.name.startswith("tidemill."))
            case ast.ImportFrom(module="tidemill", names=names):
                yield from ((node.lineno, f"tidemill.{a.name}") for a in names if a.name not in public)
            case ast.ImportFrom(module=str(module)) if module.startswith("tidemill."):
                yield node.lineno, module
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in handles and attr not in public:
                yield node.lineno, f"{name}.{attr}"
            case _:
                pass


def test_examples_use_the_public_names_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} uses {what}, which is not public"
        for path in sources("examples")
        for line, what in not_public(parsed(path.read_text()), set(tidemill.__all__))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "program", ["import tidemill.engine", "from tidemill.engine import app", "from tidemill import plan", "tm.plan"]
)
def test_an_example_that_reaches_inside_is_found(program: str) -> None:
    assert list(not_public(parsed("import tidemill as tm\n" + program), {"App"}))
    assert not list(not_public(parsed("import tidemill as tm\nfrom tidemill import App\ntm.App"), {"App"}))


def test_numbered_examples_fit_on_a_page() -> None:
    numbered = list((ROOT / "examples").glob("[0-9]*.py"))
    assert numbered
    assert {path.name: n for path in numbered if (n := len(path.read_text().splitlines())) >= 120} == {}
