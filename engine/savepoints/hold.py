"""The hold of tasks at a commit: between the loop and the thread that asks for it.

The loop commits and does not run its tasks while they are held. A hold ends when it is released, when a task of the
process is closed or started, and after its time in any case.

A cut-over has them run up to given positions and held there. Then they stand still: they have committed that they do,
and go on only when Kafka says how the cut-over has ended. No time limits that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..ids import TaskId
from ..plan.plan import SubTopology
from ..tasks.roles import Role

__all__ = ["HeldTask", "Hold", "HoldableTask", "Limit", "Ended", "Stand", "Turn"]


class HoldableTask(Protocol):
    """A running task, as far as it matters here."""

    @property
    def id(self) -> TaskId: ...
    @property
    def stores(self) -> Mapping[str, Any]: ...
    @property
    def subtopology(self) -> SubTopology: ...
    def committed(self) -> dict[TopicPartition, int]: ...


@dataclass(frozen=True)
class HeldTask:
    """A task at a commit."""

    id: TaskId
    subtopology: SubTopology
    offsets: Mapping[TopicPartition, int]
    """The committed next offsets of its inputs."""
    store: Any | None
    """Its stores on disk, if it has any."""
    memory: Sequence[tuple[str, bytes, bytes]]
    """The entries of its stores in memory: store, key, value."""


class Turn(Enum):
    """What the loop does next."""

    RUN = "run the tasks"
    REACH = "commit, note it with `reached`, and run no task"
    WAIT = "run no task"


@dataclass(frozen=True)
class Limit:
    """Read the inputs to these offsets only, and note it with `limited`; without any, read on."""

    ends: Mapping[TopicPartition, int]


@dataclass(frozen=True)
class Stand:
    """Commit that the tasks stand still in a cut-over, and note it with `stood`."""

    other: str
    attempt: str


@dataclass(frozen=True)
class Ended:
    """The cut-over is done or undone: the tasks have this role now."""

    role: Role


class Hold:
    """Whether the tasks of a process are to be held, and are."""

    def __init__(self, clock: Clock) -> None:
        self.busy = False
        """Whether `next` has anything to say; read by the loop in each turn."""
        self.ends: Mapping[TopicPartition, int] = {}
        """Where inputs are to end now."""
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = self._rest = self._memory = False
        self._until: int | None = None
        self._held: tuple[HoldableTask, ...] | None = None
        self._content: tuple[HeldTask, ...] = ()
        self._broken = ""
        self._limit: Mapping[TopicPartition, int] = {}
        """The ends that the loop knows."""
        self._stand: Stand | None = None
        self._stood: tuple[HoldableTask, ...] = ()
        self._resolved: Role | None = None

    # For the thread that takes part in savepoints and cut-overs

    def ask(self, ms: int, *, rest: bool = False, memory: bool = True) -> None:
        """Have the tasks held, for `ms` at the most.

        With `rest`, they are held when they have processed all that they may read. `memory` says whether the content of
        stores in memory is wanted.
        """
        with self._lock:
            self._until = self._clock.monotonic() + ms
            self._held, self._content, self._broken, self._stand = None, (), "", None
            self._asked, self._rest, self._memory, self.busy = True, rest, memory, True

    def run(self, ends: Mapping[TopicPartition, int], ms: int) -> None:
        """Have the tasks run up to these offsets of their inputs, for `ms` at the most."""
        with self._lock:
            self._until = self._clock.monotonic() + ms
            self._held, self._content, self._broken, self._stand = None, (), "", None
            self._asked, self.ends, self.busy = False, dict(ends), True

    def stand(self, other: str, attempt: str) -> None:
        """Have the tasks, which are held, commit that they stand still."""
        with self._lock:
            if self._held is not None:
                self._stand = Stand(other, attempt)

    def release(self) -> None:
        """Let the tasks go on, unless they stand still."""
        with self._lock:
            self._held, self._content, self._broken, self._asked = None, (), "", False
            self._until, self._stand, self.ends = None, None, {}

    def standing(self) -> tuple[TopicPartition, ...]:
        """Return the inputs of tasks that stand still."""
        with self._lock:
            return tuple(key for task in self._stood for key in task.committed())

    def resolve(self, role: Role) -> None:
        """Let tasks that stand still go on in this role."""
        with self._lock:
            if self._stood:
                self._resolved = role

    def status(self) -> tuple[Literal["none", "waiting", "held", "stands", "broken"], str]:
        """Return how the hold is, and why it was broken."""
        with self._lock:
            if self._stood:
                return "stands", ""
            if self._broken:
                return "broken", self._broken
            return ("none" if not self._asked else "waiting" if self._held is None else "held"), ""

    def content(self) -> tuple[HeldTask, ...]:
        """Return the tasks at the commit at which they are held."""
        with self._lock:
            return self._content

    # For the loop

    @property
    def rests(self) -> bool:
        """Whether tasks are to be held only when they have processed all that they may read."""
        return self._rest

    def next(self, tasks: Iterable[HoldableTask], *, resting: bool = True) -> Turn | Limit | Stand | Ended:
        """Return what the loop does in this turn.

        `resting` says whether the tasks have processed and committed all that they may read. A hold that is over is
        ended here.
        """
        running = tuple(tasks)
        with self._lock:
            if self._resolved is not None:
                role, self._resolved, self._stood = self._resolved, None, ()
                self._clear("")
                return Ended(role)
            self._stood = tuple(task for task in self._stood if any(task is one for one in running))
            if self._stood:
                return Turn.WAIT
            if self._until is not None and self._clock.monotonic() > self._until:
                self._clear("its tasks were held for too long")
            elif self._held is not None and tuple(map(id, self._held)) != tuple(map(id, running)):
                self._clear("its tasks have changed")
            if self._stand is not None:
                return self._stand
            if self._limit != self.ends:
                return Limit(self.ends)
            self.busy = self._asked or bool(self.ends)
            if not self._asked or (self._rest and self._held is None and not resting):
                return Turn.RUN
            return Turn.REACH if self._held is None else Turn.WAIT

    def limited(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note that the inputs are read to these offsets only."""
        with self._lock:
            self._limit = ends

    def reached(self, tasks: Iterable[HoldableTask]) -> None:
        """Note that the tasks are committed, and are not run from now on."""
        held = tuple(tasks)
        content = tuple(_content(task, memory=self._memory) for task in held)
        with self._lock:
            if self._asked:
                self._held, self._content = held, content

    def stood(self, tasks: Iterable[HoldableTask]) -> None:
        """Note that the tasks have committed that they stand still."""
        with self._lock:
            self._stood, self._stand = tuple(tasks), None

    def _clear(self, why: str) -> None:
        self._held, self._content, self._broken, self._asked = None, (), why, False
        self._until, self._stand, self.ends = None, None, {}


def _content(task: HoldableTask, *, memory: bool) -> HeldTask:
    names = [state.spec.name for state in task.subtopology.stores if memory and state.spec.kind == "memory"]
    entries: list[tuple[str, bytes, bytes]] = []
    for name in names:
        entries += [(name, key, value) for key, value in task.stores["memory"].scan(name, b"", None)]
    return HeldTask(task.id, task.subtopology, task.committed(), task.stores.get("rocksdb"), entries)
