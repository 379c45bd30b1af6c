"""Targets: the interface of systems outside Kafka to which sinks write exactly once.

A sink reads one topic partition. Its target keeps the position up to which it has been written, in the same
transaction as the rows, and the epoch of the owner that may write. So a row is neither lost nor written twice:
a task that takes the sink over asks the target how far it is, and an owner that was replaced is refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..errors import TidemillError
from ..record import Record
from ..serdes.base import Serde

__all__ = [
    "RecordsRefused",
    "Target",
    "TargetFenced",
    "TargetInput",
    "TargetSession",
    "TargetTask",
    "TargetUnavailable",
    "TargetWriter",
    "TargetWriters",
]


class TargetUnavailable(TidemillError):
    """A target cannot be reached, or cannot write now: the same write is repeated later.

    Whether anything was written need not be known: before the next attempt the session is asked for its position.

    Example:
        >>> raise tm.TargetUnavailable("the server is shutting down")
        Traceback (most recent call last):
        tidemill.operators.graph.target.TargetUnavailable: the server is shutting down
    """


class TargetFenced(TidemillError):
    """Another owner has opened the sink since; this one may not write any more.

    Example:
        >>> issubclass(tm.TargetFenced, tm.TidemillError)
        True
    """


class RecordsRefused(TidemillError):
    """A target refuses certain records, such as those that violate a constraint.

    Nothing of the write was kept. Each refused record is treated by the error policy of the sink, and the write is
    repeated without it.

    Args:
        errors: The reasons, by the index of the record in the list that was to be written.

    Example:
        >>> tm.RecordsRefused({3: ValueError("a negative price")}).errors
        {3: ValueError('a negative price')}
    """

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        super().__init__(f"the target refuses {len(errors)} records")
        self.errors = errors


@dataclass(frozen=True)
class TargetInput:
    """What a sink reads: known when the program is written.

    Example:
        >>> tm.TargetInput(key=tm.utf8, value=tm.json, windowed=False, table=True).table
        True
    """

    key: Serde[Any] | None
    """The serde of the keys, or of the keys inside of windowed keys; None if unknown."""
    value: Serde[Any] | None
    windowed: bool
    """Whether keys are `tm.Windowed`."""
    table: bool
    """Whether a record is the present row of its key, and None deletes it; else it is an event."""


@dataclass(frozen=True)
class TargetTask:
    """The part of a sink that one owner writes at a time.

    It is one partition of the topic that the sink reads. Together, the fields identify the position: a topic that was
    deleted and made again has another id.

    Example:
        >>> print(tm.TargetTask("views", "totals-postgres", "views-totals", "q7Rz", 0))
        views/totals-postgres/views-totals/q7Rz/0
    """

    application: str
    sink: str
    """The name of the step."""
    topic: str
    topic_id: str
    """The id of the topic as Kafka's tools print it (no slash), "" if the brokers do not tell it."""
    partition: int

    def __str__(self) -> str:
        return f"{self.application}/{self.sink}/{self.topic}/{self.topic_id}/{self.partition}"


class TargetSession(ABC):
    """One owner's access to a target, for one task. It is used by one thread.

    Example:
        >>> class Session(tm.TargetSession):
        ...     def __init__(self, database, task, epoch):
        ...         self.database, self.task, self.epoch = database, str(task), epoch
        ...     def position(self):
        ...         epoch, position = self.database.positions[self.task]
        ...         if epoch != self.epoch:
        ...             raise tm.TargetFenced("another owner has opened it")
        ...         return position
        ...     def write(self, records, position):
        ...         with self.database.transaction():
        ...             self.position()
        ...             self.database.rows += [record.value for record in records]
        ...             self.database.positions[self.task] = self.epoch, position
    """

    @abstractmethod
    def position(self) -> int | None:
        """Return the position that the target has for the task, None if it has none yet.

        It is called before the first write and after each that failed, and connects again if necessary.

        Raises:
            TargetFenced: The epoch of the target is another one.
            TargetUnavailable: It cannot be read now.

        Example:
            >>> class Session(tm.TargetSession):
            ...     def position(self):
            ...         return 0
            ...     def write(self, records, position): ...
            >>> Session().position()
            0
        """

    @abstractmethod
    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        """Write records and the position behind them, all or nothing.

        When it returns, both must be durable. If the epoch in the target is another one, nothing may be written: this
        must be checked in the same transaction.

        Args:
            records: The records in the order of the topic; there may be none.
            position: The offset of the next record that is to be written.

        Raises:
            TargetFenced: The epoch of the target is another one.
            TargetUnavailable: It cannot be written now, or may have been written.
            RecordsRefused: The target does not take some of the records, nothing was written.

        Example:
            >>> class Session(tm.TargetSession):
            ...     def position(self): ...
            ...     def write(self, records, position):
            ...         print(len(records), position)
            >>> Session().write([tm.Record("ann", 1, 5, offset=7)], 8)
            1 8
        """

    def close(self) -> None:
        """Release connections. It is the last call, and may come after any failure.

        Example:
            >>> class Session(tm.TargetSession):
            ...     def position(self): ...
            ...     def write(self, records, position): ...
            >>> Session().close()
        """
        return


class Target(ABC):
    """A system to which `.sink(target)` writes.

    It is a value: it may be shared, and connects when it is opened.

    Example:
        >>> class Nowhere(tm.Target):
        ...     kind = "nowhere"
        ...     def open(self, task, epoch):
        ...         raise tm.TargetUnavailable("it is nowhere")
        >>> end = orders.sink(Nowhere()).named("orders-nowhere")
    """

    kind: ClassVar[str] = "target"
    """The word for it in names of steps and in the drawing of the topology."""

    def accept(self, given: TargetInput) -> Target:
        """Return the target for a sink that reads this; called when the program is written.

        Args:
            given: What the sink reads.

        Raises:
            TopologyError: It cannot take such records.

        Example:
            >>> class Events(tm.Target):
            ...     def accept(self, given):
            ...         if given.table:
            ...             raise tm.TopologyError("events only: use .to_stream()")
            ...         return self
            ...     def open(self, task, epoch): ...
            >>> end = orders.sink(Events())
        """
        return self

    @abstractmethod
    def open(self, task: TargetTask, epoch: str) -> TargetSession:
        """Make `epoch` the one that may write the task, and return its session.

        Every other epoch is refused from now on. No epoch is opened again once another was.

        Args:
            task: The task, as which the position is kept.
            epoch: A text that no other owner has.

        Raises:
            TargetUnavailable: It cannot be opened now.
            ConfigError: It cannot be written as it is set up, for example because a table lacks a column.

        Example:
            >>> class Memory(tm.Target):
            ...     def open(self, task, epoch):
            ...         print(task.sink, task.partition, epoch)
            >>> Memory().open(tm.TargetTask("views", "all", "views", "q7Rz", 0), "1a9f")
            all 0 1a9f
        """


class TargetWriter(Protocol):
    """The writes of one sink in one task, in another thread. One write is under way at a time."""

    @property
    def staged(self) -> int | None:
        """The offset of the first record that is staged and not in the target yet, None for none."""
        ...

    @property
    def failed(self) -> bool:
        """Whether it has failed, perhaps with no write under way; `outcome` raises the failure."""
        ...

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        """Begin to write records, and the position behind them."""
        ...

    def outcome(self) -> Mapping[int, Exception] | None:
        """Return which records the target refused, by index; None while the write is under way.

        If there are any, nothing was written. Otherwise they are in the target, or staged: then they are written later
        by themselves. Raises what makes it impossible to go on.
        """
        ...

    def close(self) -> None:
        """End the writes; one that is under way may still succeed."""
        ...


class TargetWriters(Protocol):
    """Makes the writers of a process."""

    def writer(self, target: Target, sink: str, topic: str, topic_id: str, partition: int) -> TargetWriter:
        """Return the writer of a sink for one partition of the topic that it reads."""
        ...
