"""Tests of the names of `import tidemill as tm`: sorted, complete, documented, and stated once."""

from __future__ import annotations

import ast
import inspect
import types
from importlib.metadata import entry_points, version
from pathlib import Path

import tidemill

_SOURCE = ast.parse(Path(tidemill.__file__ or "").read_text())


def test_all_is_sorted_and_has_no_name_twice() -> None:
    assert list(tidemill.__all__) == sorted(set(tidemill.__all__))


def test_all_names_exactly_what_the_package_imports() -> None:
    """A name that is imported and not listed is either missing or should be imported with an underscore."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(_SOURCE)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    defined = {
        target.id
        for node in _SOURCE.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id != "__all__"
    }
    assert {name for name in imported | defined if not name.startswith("_") or name == "__version__"} == set(
        tidemill.__all__
    )


def test_each_name_resolves_and_is_documented() -> None:
    silent = [
        name
        for name in tidemill.__all__
        if name != "__version__" and not inspect.getdoc(_documented(getattr(tidemill, name)))
    ]
    assert not silent, f"no docstring: {silent}"


def _documented(thing: object) -> object:
    """Where to look: a value such as a serde is documented by its class, unless that is a plain built-in."""
    if isinstance(thing, type | types.FunctionType | types.ModuleType | types.BuiltinFunctionType):
        return thing
    return type(thing)


def test_public_methods_of_public_classes_are_documented() -> None:
    silent = [
        f"{name}.{method}"
        for name in tidemill.__all__
        if isinstance(cls := getattr(tidemill, name), type)
        for method, function in vars(cls).items()
        if not method.startswith("_") and isinstance(function, types.FunctionType) and not inspect.getdoc(function)
    ]
    assert not silent, f"no docstring: {silent}"


def test_the_version_is_stated_once() -> None:
    assert version("tidemill") == tidemill.__version__


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="tidemill")
    assert callable(command.load())


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(tidemill.__file__ or "").parent / "py.typed").exists()
