"""Where the rows of a history are: files, or a table at one version."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar

from ...operators.errors import TidemillError
from ...operators.graph.history import HistoryInput
from ..errors import Fatal, Retryable
from .columns import FileColumns
from .history import FileHistory, RowHistory, TableHistory
from .pieces import RowGroup, RowGroupName

__all__ = ["Listing", "RowSource", "row_source", "told"]

T = TypeVar("T")


class Listing(NamedTuple):
    """What there is to read."""

    groups: list[RowGroup]
    files: int
    version: int | None
    """The version of the table, by which its rows are read later; None for files."""


class RowSource(ABC):
    """Finds and loads row groups. It may raise StorageError."""

    @abstractmethod
    def listing(self) -> Listing:
        """Return the row groups.

        Raises TopologyError if they do not fit the source, or there are none.
        """

    @abstractmethod
    def positions(self, topic: str, topic_id: str, partitions: int) -> Mapping[int, int] | None:
        """Return the positions in a topic up to which a sink has written what `listing` has found.

        They are None if no sink has. Raises TopologyError if that is not clear.
        """

    @abstractmethod
    def load(self, name: RowGroupName, version: int | None) -> tuple[Any, FileColumns]:
        """Return the rows of a group, and which columns are what. Raises Fatal and Retryable."""


def row_source(history: RowHistory, given: HistoryInput) -> RowSource:
    """Return the rows of a history for a source."""
    assert isinstance(history, (FileHistory, TableHistory))
    name = "parquet_rows" if isinstance(history, FileHistory) else f"{history.table.kind}_rows"
    module: Any = import_module(f"{__package__}.{name}")  # each needs another extra
    made: RowSource = module.opened(history, given)
    return made


LASTING: Final = (FileNotFoundError, ValueError, TypeError, KeyError)
"""Errors of libraries that come again."""


def told(where: str, action: Callable[[], T], lasting: tuple[type[Exception], ...] = ()) -> T:
    """Return the result of reading a table. Raises Fatal if it fails for good, else Retryable."""
    try:
        return action()
    except TidemillError:
        raise
    except Exception as error:  # each catalog and store has its own
        text = f"{where}: {type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, (*LASTING, *lasting)):
            raise Fatal(f"{text}. The version of the table and its files must stay while it is read") from error
        raise Retryable(text) from error
