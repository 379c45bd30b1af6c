"""The errors a program can cause, by what the caller does next.

The engine's own errors extend this tree in `engine/errors.py`; the part that operators and the fluent interface raise
is here because they may not import the engine. Nothing here decides what happens to a record that failed: that is
the task's policy.

    TidemillError
    ├── ConfigError     correct the settings      raised before anything connects
    ├── TopologyError   correct the program       raised while it is built or planned, before it starts
    └── RecordError     apply the step's policy   one record could not be processed; all before it could
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any

from typing_extensions import Self

from .record import Record

__all__ = ["ConfigError", "RecordError", "TidemillError", "TopologyError", "cause_of", "poison"]

NO_VALUE = (AttributeError, TypeError)
"""What a function raises that takes None for a value."""

SHOWN = 120
"""Characters of a key or a cause that a message shows."""


class TidemillError(Exception):
    """Anything that Tidemill raises on purpose."""


class ConfigError(TidemillError):
    """A setting is unknown, of the wrong type or at odds with another. The message names the source and the fix."""


class TopologyError(TidemillError):
    """The program cannot run as it is written, or does not fit the topics it reads."""


class RecordError(TidemillError):
    """One record could not be processed by one step.

    An operator raises it `from` the original exception, with `index`, the place of the record in the list it was given,
    and `done`, its output for the records before that one. Whoever called the operator may drop the record and go on
    with the records after `index`. The task adds the place the record came from with `at`.

    `record` is the record as the step got it; its `offset` and `timestamp` are those of the source record. A source
    that could not decode a record gives the raw bytes in place of key and value.
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
        """A verb for the message: what could not be done, such as "process", "decode" or "encode"."""
        self.counted = counted
        """The reason under which it is counted when the policy drops it."""
        self.task: str | None = None
        self.topic: str | None = None
        self.partition: int | None = None

    def at(self, topic: str, partition: int, task: str | None = None) -> Self:
        """Adds where the record came from; returns the error itself."""
        self.topic, self.partition, self.task = topic, partition, task
        return self

    @property
    def offset(self) -> int:
        return self.record.offset

    @property
    def timestamp(self) -> int:
        return self.record.timestamp

    @property
    def key(self) -> Any:
        return self.record.key

    @property
    def reason(self) -> str:
        """The original exception in one line."""
        cause = self.__cause__
        if cause is None:
            return "no reason given"
        if isinstance(cause, TidemillError):
            return str(cause)
        lines = str(cause).splitlines()
        return f"{type(cause).__name__}: {shortened(lines[0])}" if lines else type(cause).__name__

    @property
    def place(self) -> str:
        """Topic, partition, offset, timestamp and key in words, as far as they are known."""
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
        """A word on what is often the reason."""
        if self.doing == "process" and self.record.value is None and isinstance(self.__cause__, NO_VALUE):
            return " The record has no value (a tombstone): .filter(lambda value: value is not None) leaves those out."
        return ""


def shortened(text: str) -> str:
    """`text`, cut where a message would become unreadable."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def poison(step: str, records: Sequence[Record[Any, Any]], rest: Iterator[Any], done: Any) -> RecordError:
    """The error for the record before `rest`, which is what is left of the iterator over `records`.

    Called while the exception is handled, which goes on if it came before the first record: then none is to blame.
    """
    index = len(records) - length_hint(rest) - 1
    if index < 0:
        raise  # noqa: PLE0704
    return RecordError(step, index, records[index], done)


def cause_of(failure: RecordError, error: Exception) -> Exception:
    """The error itself, or one that says more when the record's key can be no key of a keyed step."""
    try:
        hash(failure.key)
    except TypeError:
        return TypeError(
            f"the key is a {type(failure.key).__name__}, which can be changed in place, so nothing can be kept under "
            "it: use text, a number, a tuple or a frozen struct as the key"
        )
    return error
