"""Examples are files, not packages: `load` imports one by its path, as Python does when it runs one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import `load("01_first_program.py")` or `load("flights/feed.py")` again, with its folder on the path."""
    before = set(sys.modules)

    def load_one(name: str) -> ModuleType:
        path = EXAMPLES / name
        monkeypatch.syspath_prepend(str(path.parent))
        found = sys.modules.get(path.stem)
        if found is not None and found.__file__ == str(path):
            return found
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    yield load_one
    for name in set(sys.modules) - before:
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
