"""`Operator`: the code of a step in one task, with every method that the graph of the task may call."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast

from .calls import Calls

__all__ = ["OptionalCall", "Operator"]

OptionalCall: TypeAlias = Literal["tick", "advance", "collect", "oldest_waiting"]
"""The methods that the graph calls only on operators that handle them."""

NO_DROPS: Final = cast("dict[str, int]", MappingProxyType[str, int]({}))
"""Empty and read-only: an operator that drops records has a dict of its own."""


class Operator:
    """A step of a topology, running in one task.

    A subclass implements `process` and overrides what else it needs; every other method does nothing by default. All
    calls come from the task that the operator belongs to, one after the other.

    **State.** An operator owns nothing that is not in its stores: rebuilt from them between any two calls, it goes on
    as before. What it keeps in memory beside them is derived from them, or only counts.

    **Results.** `process`, `tick`, `advance` and `collect` return what they cause: a list of records; one list per port
    if the node has several ports; a list of `Outgoing` if the node is a sink or a repartition. Each record carries the
    offset of the source record that caused it, -1 if none did. An operator may return the list that it was given, and
    changes neither that list nor a list that it has returned.

    **Failures.** A record that cannot be processed raises `RecordError` with the results of the records before it, in
    the same form. If the error policy drops the record, the graph calls `process` again with the records after it, or
    repeats the same call of `tick`, `advance` or `collect`: what failed must not be there any more by then.

    **`now`** is the wall clock of the process in ms since the epoch. It is the same for all steps of a run, and is
    passed in because operators read no clock. It may jump in either direction, and is no event time: only what is
    defined by the wall clock, such as emit intervals and wall-clock timers, may depend on it.

    **Stream time and watermarks.** If the node has no `watermark`, the operator derives stream time from its own
    records: the largest timestamp so far, moved record by record, kept in its store. `advance` is not called then. If
    the node has a `watermark`, records do not move the operator's time, `advance` alone does:

    - The time of a step is the least of the times that its inputs allow. An input allows the time of the step that it
      comes from, less that node's `behind`, and not beyond that operator's `oldest_waiting`.
    - The times that an operator is told increase strictly. A record older than the time may still come: it is late.
    - Time moves when the records that brought it have passed all steps. In that pass through the graph, a step first
      processes the results of the steps before it, then its `advance` is called.
    - A rebuilt operator is not told again a time that it has acted on. An operator that needs that time keeps it in its
      store.
    """

    drops: dict[str, int] = NO_DROPS
    """The number of records that the operator has dropped, by reason. Records that failed are not among them."""
    lateness: int = 0
    """How far behind stream time, in ms, the latest of the records was that were dropped as late."""
    misses: int = 0
    """The number of records that looked up a row in a join and found none."""
    doubt: str | None = None
    """A warning about a timestamp that seems to be in another unit than ms, None if there was none."""

    def process(self, records: list[Any], now: int) -> Any:
        """Processes the records of one run, in order. There is at least one.

        If the node has `tagged` inputs, the items are pairs `(slot, Record)` with the index of the input. How the input
        is cut into lists must not show in the results.
        """
        raise NotImplementedError

    def handles(self, call: OptionalCall) -> bool:
        """Whether the graph is to make a call. It asks once, when it is built, and spares the others their turn.

        True for the methods that the class overrides. A class whose methods have work for some instances only, by how
        these were made, overrides this too.
        """
        cls = type(self)
        overridden: dict[OptionalCall, bool] = {
            "tick": cls.tick is not Operator.tick,
            "advance": cls.advance is not Operator.advance,
            "collect": cls.collect is not Operator.collect,
            "oldest_waiting": cls.oldest_waiting is not Operator.oldest_waiting,
        }
        return overridden[call]

    # Called once, before all others

    def attach(self, calls: Calls) -> None:
        """Receives what runs the operator's coroutine functions."""

    def placed(self, partition: int) -> None:
        """Receives the partition number of the task."""

    # Time

    def tick(self, now: int) -> Any:
        """Acts on the wall clock. Called about every 100 ms, with or without records."""
        return []

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Moves the operator's time to `time`, which is later than before. Called if the node has a `watermark`.

        `offset` is that of the source record which moved the time. It is -1 if none did: an input is idle, or time had
        to wait for records that have been sent on since. An operator keeps such a move in its store only if it causes
        something.
        """
        return []

    def oldest_waiting(self) -> int | None:
        """The event time of the oldest record that waits in the operator to be sent, None if none waits.

        Downstream, time does not move beyond it.
        """
        return None

    # Calls of coroutine functions

    def collect(self, now: int, limit: int | None) -> Any:
        """Returns the results of the calls that have ended, of at most `limit` records if that is not None.

        An operator that handles this makes calls: the graph also reads its `waiting` and `room`, and closes it.
        """
        return []

    @property
    def waiting(self) -> int:
        """The number of records that wait for the results of their calls."""
        return 0

    @property
    def room(self) -> int | None:
        """How many more records it makes sense to send to `process` now, None for any number.

        The task takes no run while this is 0 or less.
        """
        return None

    def close(self) -> None:
        """Cancels the calls under way. Nothing is called after it; the records that wait stay in the store."""
