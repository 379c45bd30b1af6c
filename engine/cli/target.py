"""Finds the program of a command by its target.

A target is "module:name", "package.module", "file.py" or "file.py:name". The name may be omitted if the module has
exactly one application. The search path is that of Python when it runs a file (the directory of the file) or a module
(the working directory).
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
    """Raised if the import of the user's module fails; the cause is the original exception."""


def find(target: str, kind: type[A]) -> A:
    """Return the application at `target`.

    Raises ConfigError if there is none, ProgramFailed if the import of its module fails.
    """
    path, name = split_target(target)
    module = import_file(path) if path.endswith(".py") else import_by_name(path)
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
        raise ConfigError(f"{name!r} in {path} is not a tm.App but of type {type(getattr(module, name)).__name__}")
    raise ConfigError(f"there is no {name!r} in {path}{did_you_mean(name, applications)}")


def split_target(target: str) -> tuple[str, str | None]:
    """Return the module or file, and the name in it if one is given."""
    path, colon, name = target.rpartition(":")
    if not colon:
        return target, None
    if not path or not name.isidentifier():
        raise ConfigError(f"{target!r} does not name a program: write MODULE:APP, such as views:app or views.py:app")
    return path, name


def import_file(path: str) -> ModuleType:
    """Import a file as the module of its name."""
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


def import_by_name(name: str) -> ModuleType:
    """Import a module by its dotted name, also from the working directory."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"{name!r} is not a module name: write MODULE:APP, such as views:app, or a file: views.py:app"
        )
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
