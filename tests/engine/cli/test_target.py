"""Tests of finding the program that a command refers to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tidemill as tm
from tidemill.engine.cli.target import ProgramFailed, find
from tidemill.engine.errors import ConfigError

VIEWS = """
import tidemill as tm
app = tm.App("views")
again = app
number = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory with programs, whose modules are unloaded afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    files = {
        "target_views.py": VIEWS,
        "target_two.py": 'import tidemill as tm\na = tm.App("a")\nb = tm.App("b")\n',
        "target_none.py": "x = 1\n",
        "target_raises.py": "def build():\n    return {}['lost']\n\nbuild()\n",
        "target_syntax.py": "x = = 1\n",
        "target_lacks.py": "import no_such_module\n",
        "target_topology.py": 'import tidemill as tm\n\n\napp = tm.App("not a name")\n',
        "shop/views.py": "from .names import NAME\nimport tidemill as tm\napp = tm.App(NAME)\n",
        "shop/names.py": 'NAME = "shop"\n',
        "shop/__init__.py": "",
        "elsewhere/program.py": "from target_helper import NAME\nimport tidemill as tm\napp = tm.App(NAME)\n",
        "elsewhere/target_helper.py": 'NAME = "helped"\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("target_", "shop", "program")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "app_id"),
    [
        ("target_views:app", "views"),
        ("target_views:again", "views"),
        ("target_views", "views"),
        ("target_views.py", "views"),
        ("target_views.py:app", "views"),
        ("./target_views.py:app", "views"),
        ("target_two:b", "b"),
        ("shop.views:app", "shop"),
        ("elsewhere/program.py", "helped"),
    ],
)
def test_found(target: str, app_id: str) -> None:
    assert find(target, tm.App).app_id == app_id


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("target_views:ap", "there is no 'ap' in target_views; did you mean 'app'?"),
        ("target_views:number", "'number' in target_views is not a tm.App but of type int"),
        ("target_views:", "write MODULE:APP, such as views:app or views.py:app"),
        (":app", "write MODULE:APP"),
        ("target_views:a.b", "write MODULE:APP"),
        ("target_two", "target_two has several applications: say which one, as in target_two:a"),
        ("target_none.py", "target_none.py has no application: write app = tm.App('name')"),
        ("no_such_file.py", "there is no file no_such_file.py"),
        ("no_such_module:app", "there is no module 'no_such_module' in "),
        ("shop.lost:app", "there is no module 'shop.lost' in "),
        ("elsewhere/program:app", "'elsewhere/program' is not a module name"),
        ("a-b:app", "or a file: views.py:app"),
    ],
)
def test_not_found(target: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(target, tm.App)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message", "cause"),
    [
        ("target_raises", "target_raises could not be imported: KeyError: 'lost'", KeyError),
        ("target_raises.py", "target_raises.py could not be imported: KeyError: 'lost'", KeyError),
        ("target_syntax", "target_syntax could not be imported: SyntaxError: ", SyntaxError),
        ("target_lacks", "target_lacks could not be imported: No module named 'no_such_module'", ModuleNotFoundError),
        ("target_lacks.py", "could not be imported: ModuleNotFoundError: ", ModuleNotFoundError),
    ],
)
def test_a_module_that_fails_is_not_a_module_that_is_missing(target: str, message: str, cause: type[Exception]) -> None:
    with pytest.raises(ProgramFailed) as caught:
        find(target, tm.App)
    assert message in str(caught.value)
    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize("target", ["target_topology", "target_topology.py"])
def test_an_error_of_the_program_is_reported_unchanged(target: str) -> None:
    with pytest.raises((tm.TopologyError, tm.ConfigError), match="not a name"):
        find(target, tm.App)
