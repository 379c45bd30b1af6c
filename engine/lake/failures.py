"""Translation of storage errors into errors of targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...operators.errors import ConfigError
from ...operators.graph.target import TargetUnavailable
from ..snapshots.envelope import Unreadable
from ..snapshots.storage import StorageError

__all__ = ["translated"]

T = TypeVar("T")


def translated(where: str, action: Callable[[], T]) -> T:
    """Return the result of an action on files.

    Raises TargetUnavailable if it may succeed later, and ConfigError, which begins with `where`, if it never will.
    """
    try:
        return action()
    except StorageError as failure:
        if failure.lasting:
            raise ConfigError(f"{where}: {failure}") from failure
        raise TargetUnavailable(str(failure)) from failure
    except Unreadable as failure:
        raise ConfigError(f"{where}: an entry of its log of commits cannot be used: {failure}") from failure
