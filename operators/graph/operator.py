"""`Operator`: the code of a step in one task, with all methods that the graph may call."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast

from .calls import CallExecutor
from .target import TargetWriter

__all__ = ["Operator", "OptionalCall"]

OptionalCall: TypeAlias = Literal["tick", "advance", "collect", "oldest_waiting", "before_commit"]
"""The methods that the graph calls only on operators that handle them."""

NO_DROPS: Final = cast("dict[str, int]", MappingProxyType[str, int]({}))
"""Empty and read-only: an operator that drops records has its own dict."""


class Operator:
    """A step of a topology, running in one task.

    A subclass implements `process` and overrides what else it needs; every other method does nothing by default. All
    calls come from the task that the operator belongs to, one after the other.

    **State.** An operator owns only what is in its stores: if it is rebuilt from them between any two calls, it
    continues as before. Other values in memory are derived from the stores, only count, or are sent by `before_commit`.

    **Results.** `process`, `tick`, `advance`, `collect` and `before_commit` return what they cause: a list of records;
    one list per port if the node has several ports; a list of `Outgoing` if the node is a sink or a repartition. Each
    record carries the offset of the source record that caused it, -1 if none did. An operator may return the list that
    it was given, and changes neither that list nor a list that it has returned.

    **Failures.** A record that cannot be processed raises `RecordError` with the results of the records before it, in
    the same form. If the error policy drops the record, the graph calls `process` again with the records after it, or
    repeats the same call of `tick`, `advance` or `collect`: the cause of the failure must have been removed by then.

    **`now`** is the wall clock of the process in ms since the epoch. It is the same for all steps of a run, and is
    passed in because operators read no clock. It may jump in either direction, and is no event time: only what is
    defined by the wall clock, such as emit intervals and wall-clock timers, may depend on it.

    **Stream time and watermarks.** If the node has no `watermark`, the operator derives stream time from its own
    records: the largest timestamp so far, moved record by record, kept in its store. `advance` is not called then. If
    the node has a `watermark`, records do not move the operator's time, `advance` alone does:

    - The time of a step is the least of the times that its inputs allow. An input allows the time of the step that it
      comes from, less that node's `behind`, and not beyond that operator's `oldest_waiting`.
    - The times passed to an operator increase strictly. An older record may still arrive: it is late.
    - Time moves when the records that brought it have passed all steps. In that pass through the graph, a step first
      processes the results of the steps before it, then its `advance` is called.
    - A rebuilt operator does not receive a time again that it has acted on. An operator that needs that time keeps it
      in its store.
    """

    drops: dict[str, int] = NO_DROPS
    """The number of dropped records, by reason, without those that failed."""
    lateness: int = 0
    """The largest distance to stream time, in ms, of the records that were dropped as late."""
    misses: int = 0
    """The number of records that looked up a row in a join without finding one."""
    doubt: str | None = None
    """A warning about a timestamp that seems to be in another unit than ms, else None."""

    def process(self, records: list[Any], now: int) -> Any:
        """Process the records of one run, in order; there is at least one.

        If the node has `tagged` inputs, the items are pairs `(slot, Record)` with the index of the input. The results
        must not depend on how the input is divided into lists.
        """
        raise NotImplementedError

    def handles(self, call: OptionalCall) -> bool:
        """Return whether the graph should make a call; asked once, when the graph is built.

        True for the methods that the class overrides. A class in which only some instances need a method overrides this
        too.
        """
        cls = type(self)
        overridden: dict[OptionalCall, bool] = {
            "tick": cls.tick is not Operator.tick,
            "advance": cls.advance is not Operator.advance,
            "collect": cls.collect is not Operator.collect,
            "oldest_waiting": cls.oldest_waiting is not Operator.oldest_waiting,
            "before_commit": cls.before_commit is not Operator.before_commit,
        }
        return overridden[call]

    # Called once, before all others

    def attach(self, calls: CallExecutor) -> None:
        """Receive the executor of the operator's coroutine functions."""

    def writes_to(self, writer: TargetWriter) -> None:
        """Receive the writer of the node's target."""

    def placed(self, partition: int) -> None:
        """Receive the partition number of the task."""

    # Time

    def tick(self, now: int) -> Any:
        """Process what is due by the wall clock. Called about every 100 ms, with or without records."""
        return []

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Move the operator's time to a later `time`; called if the node has a `watermark`.

        `offset` is that of the source record that moved the time. It is -1 if no record did: an input is idle, or time
        had to wait for records that have been sent since. An operator stores such a move only if it causes results or
        changes.
        """
        return []

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest record that waits in the operator, None if none waits.

        Downstream, time does not move beyond it.
        """
        return None

    # Commits

    def before_commit(self, now: int) -> Any:
        """Return the results that have waited for the commit; nothing waits afterwards.

        Called directly before the task's work is committed, with these results and what they cause.
        """
        return []

    # Calls of coroutine functions

    def collect(self, now: int, limit: int | None) -> Any:
        """Return the results of ended calls, for at most `limit` records if that is not None.

        An operator that handles this makes calls: the graph also reads its `waiting` and `room`, and closes it.
        """
        return []

    @property
    def waiting(self) -> int:
        """The number of records that wait for the results of their calls."""
        return 0

    @property
    def room(self) -> int | None:
        """The number of records that `process` should receive now at most, None for any number.

        The task processes no run while this is 0 or less.
        """
        return None

    @property
    def unwritten(self) -> int | None:
        """The offset of the first record that is not in the operator's target yet, None if all are.

        The task commits no later offset.
        """
        return None

    def close(self) -> None:
        """Cancel the calls under way; the last call. The records that wait stay in the store."""
