"""The interfaces between the participant in savepoints, the membership and the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..group.membership import Status
from ..plan.plan import Plan
from .hold import Hold, HoldableTask

__all__ = ["Member", "NoSavepoints", "Savepoints"]


class Member(Protocol):
    """The membership of this process."""

    @property
    def generation(self) -> int: ...
    @property
    def process(self) -> str: ...
    @property
    def status(self) -> Status: ...
    def confirm(self, epoch: int, timeout: float = ...) -> None: ...
    def fetch_offsets(
        self, partitions: Iterable[TopicPartition], timeout: float = ...
    ) -> Mapping[TopicPartition, tuple[int, str] | None]: ...


class Savepoints(Protocol):
    """The part of a process in savepoints. For the loop's thread."""

    hold: Hold

    @property
    def active(self) -> bool:
        """Whether a savepoint is being made: records of repartition topics are kept until it is."""
        ...

    def turn(self, plan: Plan, tasks: Iterable[HoldableTask]) -> None:
        """Set the tasks that run now."""
        ...


class NoSavepoints:
    """Takes part in none."""

    active = False

    def __init__(self, clock: Clock) -> None:
        self.hold = Hold(clock)

    def turn(self, plan: Plan, tasks: Iterable[HoldableTask]) -> None:
        """Do nothing."""
