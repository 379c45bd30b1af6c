"""The rows of a table at one version: what is the same for every kind of table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from ...operators.errors import TopologyError
from ...operators.graph.history import HistoryInput
from .columns import FileColumns, check_columns, columns_of
from .history import TableHistory
from .pieces import RowGroup, RowGroupName
from .row_source import Listing, RowSource, told

__all__ = ["TableFiles", "TableVersion"]


class TableVersion(NamedTuple):
    """A version of a table, as it was loaded."""

    number: int
    schema: Any
    """The columns, as a schema of Arrow."""
    files: Mapping[str, Any]
    """What the library knows of each file, by its path."""


class TableFiles(RowSource):
    """The rows of a version of a table, which is loaded when it is needed."""

    lasting: ClassVar[tuple[type[Exception], ...]]
    """The errors of the library that come again."""

    def __init__(self, history: TableHistory, given: HistoryInput, name: str) -> None:
        """Take the name of the table for messages."""
        self._history = history
        self._given = given
        self._name = name
        self._where = f"the source {given.source!r}: {history!r}"
        self._version: TableVersion | None = None
        self._columns = FileColumns(None, None, ())

    def listing(self) -> Listing:
        return told(self._where, self._listed, self.lasting)

    def load(self, name: RowGroupName, version: int | None) -> tuple[Any, FileColumns]:
        return told(f"{self._where}, file {name.path}", lambda: self._loaded(name, version), self.lasting)

    @abstractmethod
    def _opened(self, version: int | None) -> TableVersion:
        """Load a version of the table, None for the newest one.

        Raises TopologyError if there is none.
        """

    @abstractmethod
    def _groups(self, at: TableVersion) -> list[RowGroup]:
        """Return the row groups of a version, in the order of the files' names."""

    @abstractmethod
    def _read(self, at: TableVersion, name: RowGroupName, columns: list[str]) -> Any:
        """Return these columns of a row group."""

    def _open(self, version: int | None) -> TableVersion:
        at = self._opened(version)
        self._columns = columns_of(self._history, self._given, at.schema, self._name)
        check_columns(self._given, self._columns)
        self._version = at
        return at

    def _listed(self) -> Listing:
        at = self._open(self._history.version)
        groups = self._groups(at)
        if not groups:
            raise TopologyError(f"{self._where}: the table has no rows")
        return Listing(groups, len(at.files), at.number)

    def _loaded(self, name: RowGroupName, version: int | None) -> tuple[Any, FileColumns]:
        at = self._version
        if at is None or at.number != version:
            at = self._open(version)
        columns = self._columns
        needed = dict.fromkeys((*columns.values, columns.key, columns.time))
        return self._read(at, name, [one for one in needed if one]), columns
