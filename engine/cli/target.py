"""Finds the program that a command is about: "module:name", "package.module", "file.py" or "file.py:name".

The name may be left out when the module has exactly one application. Directories are looked in as Python itself does
when it runs a file (the file's own) or a module (the working directory).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ...operators.suggest import did_you_mean
from ..errors import ConfigError, TidemillError

__all__ = ["ProgramFailed", "find"]

A = TypeVar("A")


class ProgramFailed(TidemillError):
    """The user's module raised an exception while it was imported; that is the cause."""


def find(target: str, kind: type[A]) -> A:
    """The application at `target`. Raises ConfigError when there is none, ProgramFailed when its module fails."""
    path, name = split(target)
    module = from_file(path) if path.endswith(".py") else from_module(path)
    applications = {key: value for key, value in vars(module).items() if isinstance(value, kind)}
    if name is None:
        if len(set(map(id, applications.values()))) == 1:
            return next(iter(applications.values()))
        if not applications:
            raise ConfigError(f"{path} has no application: write app = tm.App('name') at its top level")
        raise ConfigError(f"{path} has several applications: say which one, as in {path}:{min(applications)}")
    found = applications.get(name)
    if found is not None:
        return found
    if hasattr(module, name):
        raise ConfigError(f"{name!r} in {path} is no tm.App but {type(getattr(module, name)).__name__}")
    raise ConfigError(f"there is no {name!r} in {path}{did_you_mean(name, applications)}")


def split(target: str) -> tuple[str, str | None]:
    """Module or file, and the name in it if one is given."""
    path, colon, name = target.rpartition(":")
    if not colon:
        return target, None
    if not path or not name.isidentifier():
        raise ConfigError(f"{target!r} does not name a program: write MODULE:APP, such as views:app or views.py:app")
    return path, name


def from_file(path: str) -> ModuleType:
    """Imports a file as the module that its name says."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ConfigError(f"there is no file {path}")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except TidemillError:
        raise
    except Exception as error:
        raise ProgramFailed(f"{path} could not be imported: {type(error).__name__}: {error}") from error
    return module


def from_module(name: str) -> ModuleType:
    """Imports a module by its dotted name, from the working directory too."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{name!r} is no module's name; write MODULE:APP, such as views:app, or a file: views.py:app")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except TidemillError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            fix = f"; is it the file {name}.py?" if Path(f"{name}.py").is_file() else f" in {Path.cwd()} or on the path"
            raise ConfigError(f"there is no module {error.name!r}{fix}") from error
        raise ProgramFailed(f"{name} could not be imported: {error}") from error
    except Exception as error:
        raise ProgramFailed(f"{name} could not be imported: {type(error).__name__}: {error}") from error
