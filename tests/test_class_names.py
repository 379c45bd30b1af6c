"""Test that no two classes of the package have the same name, including private ones."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.source_files import ROOT, parsed, sources

pytestmark = pytest.mark.xdist_group("architecture")  # each file is parsed once


def class_names(paths: Iterable[Path]) -> dict[str, list[str]]:
    """The files that define a class of each name, nested classes included."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for node in ast.walk(parsed(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path.name)
    return found


def test_no_two_classes_have_the_same_name() -> None:
    found = class_names([*ROOT.glob("*.py"), *sources("engine", "operators", "state")])
    assert len(found) > 300
    twice = {name: where for name, where in found.items() if len(where) > 1}
    assert not twice, f"use the field's term for each: {twice}"


def test_two_classes_with_the_same_name_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class Entry: ...\nclass _A: ...")
    (tmp_path / "b.py").write_text("def f():\n    class Entry: ...")
    assert class_names(sorted(tmp_path.glob("*.py"))) == {"Entry": ["a.py", "b.py"], "_A": ["a.py"]}
