"""One owner's commits to a table format: what those of Iceberg and Delta have in common.

Epoch and position of a task are in the table, and a commit states the version that it follows: it is refused if there
is another one by then. Each claim and each commit makes a version, so an owner that was replaced is refused. A refused
commit is made again only after the table was loaded again, and while the epoch in it is still this owner's; so other
writers and maintenance cost another attempt, and no more.

Imported only where it is needed, because it needs pyarrow.
"""

from __future__ import annotations

import random
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from ...operators.errors import ConfigError, TidemillError
from ...operators.graph.target import TargetFenced, TargetTask, TargetUnavailable
from ...operators.record import Record
from ..failpoints import hit
from ..targets.staging import StagingSession
from .changes import RowChanges, changes_of
from .columns import RowLayout
from .spool import Spool

__all__ = ["ClaimedBy", "TableSession"]

ATTEMPTS: Final = 30
"""Commits that are tried in a row while others come first."""
MOST_PAUSE: Final = 1.0
_locks: Final[dict[str, threading.Lock]] = {}
"""One for each table: the commits of one process do not get in each other's way."""


class ClaimedBy:
    """Who may write a task, and the position, as a table has them."""

    def __init__(self, epoch: str | int | None, position: int | None) -> None:
        self.epoch = epoch
        self.position = position


class TableSession(StagingSession):
    """The session of one epoch."""

    refused: tuple[type[Exception], ...]
    """What a commit raises if another one came first."""
    permanent: tuple[type[Exception], ...]
    """What no later attempt would help against."""

    def __init__(self, table: str, where: str, layout: RowLayout, task: TargetTask, epoch: str | int) -> None:
        self._table = table
        self.where = where
        self._layout = layout
        self.task = task
        self.epoch = epoch
        self._convert = layout.converter()
        self._spool = Spool(self._convert.schema)
        self.changes: RowChanges | None = None
        """What is staged, once it is being committed."""
        self._lock = _locks.setdefault(table, threading.Lock())

    @abstractmethod
    def prepare(self) -> None:
        """Create or complete the table."""

    @abstractmethod
    def load(self) -> Any:
        """Return the table as it is now."""

    @abstractmethod
    def claimed(self, table: Any) -> ClaimedBy:
        """Return what a table has of the task."""

    @abstractmethod
    def commit_to(self, table: Any, position: int | None, *, rows: bool) -> None:
        """Add a version after this one, with the epoch, the position, and the staged rows or none.

        Raises one of `refused` if another one came first.
        """

    def write_files(self, table: Any) -> None:
        """Write what can be written before the commit."""
        return

    def claim(self) -> None:
        """Make the epoch the one that may write."""
        with _Told(self):
            self.prepare()
        self._until_committed(None, rows=False)

    def position(self) -> int | None:
        with _Told(self):
            return self._owned(self.load())

    def stage(self, records: Sequence[Record[Any, Any]]) -> int:
        if records:
            self._spool.add(self._convert.rows(records))
            self.changes = None
        return self._spool.bytes

    def commit(self, position: int) -> None:
        if self.changes is None:
            self.changes = changes_of(self._spool.table(), self._layout.key_names if self._layout.given.table else ())
            self.forget_files()
        self._until_committed(position, rows=True)
        self.drop()

    def forget_files(self) -> None:
        """Forget what `write_files` has written: other rows are to be committed."""
        return

    def drop(self) -> None:
        self._spool.clear()
        self.changes = None
        self.forget_files()

    def close(self) -> None:
        self.drop()

    def _until_committed(self, position: int | None, *, rows: bool) -> None:
        """Commit after whatever others commit meanwhile."""
        refused: Exception | None = None
        for attempt in range(ATTEMPTS):
            with _Told(self), self._lock:
                table = self.load()
                if rows:
                    self._owned(table)
                    self.write_files(table)
                else:
                    position = self.claimed(table).position
                hit("during-target-write")
                try:
                    self.commit_to(table, position, rows=rows)
                    return
                except self.refused as failure:
                    refused = failure
            time.sleep(random.uniform(0, min(MOST_PAUSE, 0.05 * 2**attempt)))
        raise TargetUnavailable(f"{ATTEMPTS} commits in a row were refused: {refused}")

    def _owned(self, table: Any) -> int | None:
        found = self.claimed(table)
        if found.epoch != self.epoch:
            raise TargetFenced(f"another owner has opened {self.task} in the table {self._table} since")
        return found.position


class _Told:
    """Says what a failure means for the sink."""

    def __init__(self, session: TableSession) -> None:
        self._session = session

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, TidemillError):
            return
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, self._session.permanent) or type(error) is Exception:
            raise ConfigError(f"{self._session.where}: {text}") from error
        raise TargetUnavailable(text) from error
