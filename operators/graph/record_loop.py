"""`RecordLoop`: the base of operators whose `process` is one loop, with one failure path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from ..errors import raise_record_error
from ..record import Record
from .operator import Operator

__all__ = ["RecordLoop", "Records"]

Records: TypeAlias = list[Record[Any, Any]]


class RecordLoop(Operator):
    """An operator that processes the records of a run in one loop, in order.

    A subclass implements `_run`, the loop, and overrides what else it needs. An exception in the loop becomes the
    `RecordError` of the record that the loop took last. The loop needs no counter: the iterator has the position.
    """

    def __init__(self, step: str) -> None:
        self._step = step

    def process(self, records: Sequence[Any], now: int) -> Any:
        """Process the records of one run, in order."""
        done = self._no_results()
        self._begin(now)
        rest = iter(records)
        try:
            self._run(rest, done)
        except Exception as error:
            raise_record_error(error, self._step, done, records, rest)
        finally:
            self._end()
        return done

    def _no_results(self) -> Any:
        """Return an empty result: a list, or one list per port."""
        return []

    def _begin(self, now: int) -> None:
        """Read what the loop needs from the store; called before it."""

    def _run(self, records: Iterator[Any], done: Any) -> None:
        """Process the records and add the results to `done`; they are pairs with `tagged` inputs."""
        raise NotImplementedError

    def _end(self) -> None:
        """Write what the loop has changed besides entries; called after it, also after a failure."""
