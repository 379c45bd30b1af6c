"""The errors that a program can cause, by what the caller does next.

The engine's own errors extend this tree in `engine/errors.py`; the errors of operators and the DSL are here because
these may not import the engine. Nothing here decides what happens to a record that failed: that is the task's error
policy.

    TidemillError
    ├── ConfigError     correct the settings      raised before anything connects
    ├── TopologyError   correct the program       raised while it is built or planned, before it starts
    ├── Retryable       repeat the call           something outside failed for now, and nothing has changed
    └── RecordError     apply the step's policy   one record could not be processed; all before it could
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any, NoReturn

from typing_extensions import Self

from .record import Record

__all__ = [
    "ConfigError",
    "DeferredError",
    "RecordError",
    "Retryable",
    "TidemillError",
    "TopologyError",
    "raise_record_error",
]

NO_VALUE = (AttributeError, TypeError)
"""What a function raises if it does not expect the value None."""

SHOWN = 120
"""The maximum length of a key or a cause in a message."""


class TidemillError(Exception):
    """The base class of all errors that Tidemill raises on purpose.

    Example:
        >>> issubclass(tm.TopologyError, tm.TidemillError)
        True
    """


class ConfigError(TidemillError):
    """A setting is unknown, of the wrong type, or contradicts another one.

    The message names the source and the correction.

    Example:
        >>> try:
        ...     tm.testing.TopologyDriver(tm.App("views", comit_interval="1s"))
        ... except tm.ConfigError as error:
        ...     print(error)
        App(comit_interval=...): there is no such setting; did you mean 'commit_interval'?
    """


class TopologyError(TidemillError):
    """The program cannot run as it is written, or does not fit the topics that it reads.

    Example:
        >>> try:
        ...     orders.repartition(partitions=0)
        ... except tm.TopologyError as error:
        ...     print(error)
        .repartition(): a topic cannot have 0 partitions
    """


class Retryable(TidemillError):
    """Something outside failed for now, such as a broker, and nothing has changed.

    The same call may be repeated. A call that has had an effect, or may have had one, never raises this. A serde raises
    it for a record that it can decode later: the record is kept, and decoded again.

    Example:
        >>> issubclass(tm.Retryable, tm.TidemillError)
        True
    """


class RecordError(TidemillError):
    """A step could not process a record. The original exception is its cause.

    `record` is the record as the step received it. If a source could not decode a record, it has the raw bytes as key
    and value.

    An operator raises it `from` the original exception, with `index`, the position of the record in its input list, and
    `done`, its output for the records before that. The caller may drop the record and continue with those after
    `index`. The task adds the origin of the record with `at`.

    Example:
        >>> other = tm.App("other")
        >>> other.stream("orders", value=tm.json).map(lambda order: order["colour"]).named("colours").to("out")
        >>> with tm.testing.TopologyDriver(other) as driver:
        ...     try:
        ...         driver.send("orders", value={"item": "pen"}, timestamp=1)
        ...     except tm.RecordError as error:
        ...         print(error.step, error.record.value, error.reason)
        colours {'item': 'pen'} KeyError: 'colour'
    """

    def __init__(
        self,
        step: str,
        index: int,
        record: Record[Any, Any],
        done: Any,
        *,
        doing: str = "process",
        counted: str = "error",
    ) -> None:
        super().__init__(step, index, record, done)
        self.step = step
        self.index = index
        self.record = record
        self.done = done
        self.doing = doing
        """The verb of the message for what failed, such as "process", "decode" or "encode"."""
        self.counted = counted
        """The reason under which the record is counted if the policy drops it."""
        self.task: str | None = None
        self.topic: str | None = None
        self.partition: int | None = None

    def at(self, topic: str, partition: int, task: str | None = None) -> Self:
        """Add the origin of the record; return the error itself."""
        self.topic, self.partition, self.task = topic, partition, task
        return self

    @property
    def offset(self) -> int:
        """The offset of the source record.

        Example:
            >>> tm.RecordError("colours", 0, tm.Record("ann", {}, 5, offset=7), []).offset
            7
        """
        return self.record.offset

    @property
    def timestamp(self) -> int:
        """The event time of the record, in milliseconds since 1970.

        Example:
            >>> tm.RecordError("colours", 0, tm.Record("ann", {}, 5), []).timestamp
            5
        """
        return self.record.timestamp

    @property
    def key(self) -> Any:
        """The key of the record.

        Example:
            >>> tm.RecordError("colours", 0, tm.Record("ann", {}, 5), []).key
            'ann'
        """
        return self.record.key

    @property
    def reason(self) -> str:
        """The original exception in one line.

        Example:
            >>> try:
            ...     raise tm.RecordError("colours", 0, tm.Record("ann", {}, 5), []) from KeyError("colour")
            ... except tm.RecordError as error:
            ...     print(error.reason)
            KeyError: 'colour'
        """
        cause = self.__cause__
        if cause is None:
            return "no reason given"
        if isinstance(cause, TidemillError):
            return str(cause)
        if isinstance(cause, TypeError) and "unhashable" in str(cause) and not is_hashable(self.key):
            return (
                f"TypeError: the key is a {type(self.key).__name__}, which can be changed in place, so nothing can be "
                "kept under it: use text, a number, a tuple or a frozen struct as the key"
            )
        lines = str(cause).splitlines()
        return f"{type(cause).__name__}: {shortened(lines[0])}" if lines else type(cause).__name__

    @property
    def place(self) -> str:
        """Topic, partition, offset, timestamp and key as text, as far as they are known.

        Example:
            >>> tm.RecordError("colours", 0, tm.Record("ann", {}, 5, offset=7), []).place
            "offset 7, timestamp 5, key 'ann'"
        """
        parts: list[str] = []
        if self.topic is not None:
            parts.append(f"topic {self.topic!r}, partition {self.partition}")
        if self.offset >= 0:
            parts.append(f"offset {self.offset}")
        parts.append(f"timestamp {self.timestamp}")
        parts.append(f"key {shortened(repr(self.key))}")
        return ", ".join(parts)

    def __str__(self) -> str:
        task = "" if self.task is None else f" of task {self.task}"
        return (
            f"step {self.step!r}{task} could not {self.doing} a record: {self.reason} "
            f"(the record: {self.place}).{self._hint} Nothing of this record was committed: correct the function or "
            "the data and start again, and the program goes on from this record"
        )

    @property
    def _hint(self) -> str:
        """A hint at a frequent reason."""
        if self.doing == "process" and self.record.value is None and isinstance(self.__cause__, NO_VALUE):
            return " The record has no value (a tombstone): .filter(lambda value: value is not None) leaves those out."
        return ""


def is_hashable(key: Any) -> bool:
    """Return whether a key can be the key of a dict.

    A tuple cannot if one of its items cannot.
    """
    try:
        hash(key)
    except TypeError:
        return False
    return True


def shortened(text: str) -> str:
    """Return `text`, shortened to the length that a message shows."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


class DeferredError(Exception):
    """Deferred work of an earlier record failed: a timer, a recurring call, or a waiting record.

    Operators raise it `from` the original exception; `raise_record_error` makes a `RecordError` of it.
    """

    def __init__(self, record: Record[Any, Any], doing: str, *, before_record: bool = False) -> None:
        super().__init__(record, doing, before_record)
        self.record = record
        """The record that represents the work in messages."""
        self.doing = doing
        self.before_record = before_record
        """Whether the work came before the current record, which is then processed again."""


def raise_record_error(
    error: Exception,
    step: str,
    done: Any,
    records: Sequence[Record[Any, Any] | tuple[int, Record[Any, Any]]] = (),
    rest: Iterator[Any] | None = None,
) -> NoReturn:
    """Raise the RecordError for an exception that ended a loop over `records`.

    `done` has the results before it. `rest` is the iterator of the loop: the record that failed is the last one that it
    returned. If it has returned none, no record is the cause, and the exception itself is raised again. Deferred work
    may also fail outside of a loop: then `records` and `rest` are omitted.
    """
    index = -1 if rest is None else len(records) - length_hint(rest) - 1
    if isinstance(error, DeferredError):
        index = max(index - error.before_record, -1)
        raise RecordError(step, index, error.record, done, doing=error.doing) from error.__cause__
    if index < 0:
        raise error
    item = records[index]
    raise RecordError(step, index, item[1] if isinstance(item, tuple) else item, done) from error
