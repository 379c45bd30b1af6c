"""Memberships without the rest of the engine: each `Hand` handles its assignments as a task executor would.

A `Crew` is a group of hands. Everything runs in the thread of the test, one turn after the other, so a test controls
exactly when a hand works, hangs or dies, and what it did is recorded. A hand only opens and releases tasks;
`Committing` (test_membership_commits.py) also commits.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tests.support.patience import PATIENCE
from tidemill.engine.assignment.assignment import AssignmentPolicy
from tidemill.engine.group.membership import (
    Assigned,
    Event,
    Failed,
    Lost,
    Membership,
    MembershipSettings,
    SubTopologyInfo,
)
from tidemill.engine.ids import TaskId


@dataclass
class Hand:
    """A member of the group: its tasks, and its history."""

    membership: Membership
    epoch: int = 0
    process: str = ""
    running: set[TaskId] = field(default_factory=set)
    opening: set[TaskId] = field(default_factory=set)
    closed: set[TaskId] = field(default_factory=set)
    """All tasks that it ever had to close."""
    fenced: set[str] = field(default_factory=set)
    plans: list[Assigned] = field(default_factory=list)
    losses: list[Lost] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    lag: int = 0
    size: int = 1 << 40
    """The state size that it reports per task; a task with large state moves after a warm-up."""
    hanging: bool = False
    _fences: list[tuple[set[TaskId], Future[Any]]] = field(default_factory=list)

    def turn(self) -> None:
        if self.hanging:
            return
        self.membership.progress()
        for event in self.membership.events():
            self.hear(event)
        for tasks, future in [f for f in self._fences if f[1].done()]:
            self._fences.remove((tasks, future))
            ready = tasks & self.opening
            self.membership.opened({task: chain for task, chain in future.result().items() if task in ready})
            self.opening -= ready
            self.running |= ready

    def hear(self, event: Event) -> None:
        match event:
            case Assigned():
                self.plans.append(event)
                self.epoch, self.process = event.epoch, event.process
                self.assigned(event)
            case Lost():
                self.losses.append(event)
                self.closed |= self.running
                self.running.clear()
                self.opening.clear()
            case Failed():
                self.failures.append(event)

    def assigned(self, event: Assigned) -> None:
        plan = event.plan
        leaving = (self.running | self.opening) - plan.active
        coming = set(plan.active - self.running - self.opening)
        self.closed |= leaving & self.running
        self.running -= leaving
        self.opening = (self.opening - leaving) | coming
        if leaving:
            self.membership.release(leaving)
        if coming:
            self.fenced |= {process for task in coming for process in plan.fence.get(task, ())}
            self._fences.append((coming, self.membership.fence(coming)))
        self.membership.report(lags=dict.fromkeys(plan.standby, self.lag), sizes=dict.fromkeys(plan.active, self.size))

    @property
    def tasks(self) -> set[TaskId]:
        return self.running | self.opening

    @property
    def generation(self) -> int:
        return self.membership.status.generation


class Crew:
    """The members of one group that run in this process."""

    def __init__(self, bootstrap: str, group: str, topics: dict[str, int] | None = None) -> None:
        self.bootstrap = bootstrap
        self.group = group
        self.parts = tuple(
            SubTopologyInfo(number, name, "v1", {name: count})
            for number, (name, count) in enumerate((topics or {"in": 8}).items())
        )
        self.hands: list[Hand] = []

    def settings(self, **more: Any) -> MembershipSettings:
        values: dict[str, Any] = {
            "group": self.group,
            "parts": self.parts,
            "options": {"bootstrap.servers": more.pop("bootstrap", self.bootstrap)},
            "process": uuid.uuid4().hex,
            "session_timeout": 30_000,
            "heartbeat_interval": 1_000,
            "rebalance_timeout": 15_000,
            "policy": AssignmentPolicy(),
            **more,
        }
        return MembershipSettings(**values)

    def add(self, kind: Callable[[Membership], Hand] = Hand, **more: Any) -> Hand:
        hand = kind(Membership(self.settings(**more)))
        self.hands.append(hand)
        hand.membership.start()
        return hand

    def work(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def turn(self) -> None:
        for hand in self.hands:
            hand.turn()
        time.sleep(0.005)

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Run all members until the condition is true, and return the time it took."""
        began = time.monotonic()
        seconds *= PATIENCE
        while not condition():
            if time.monotonic() - began > seconds:
                pictures = [f"{h.membership.status} {sorted(map(str, h.tasks))}" for h in self.hands]
                raise AssertionError(f"waited {seconds:g} s for {what}:\n" + "\n".join(pictures))
            self.turn()
        return time.monotonic() - began

    def settled(self, hands: Iterable[Hand] | None = None) -> bool:
        """Return whether every task runs in exactly one of these hands, evenly spread, and none is about to move."""
        there = list(self.hands if hands is None else hands)
        tasks = sum(subtopology.partitions for subtopology in self.parts)
        counts = [len(hand.running) for hand in there]
        merged = set().union(*(hand.running for hand in there))
        return (
            sum(counts) == tasks == len(merged)
            and max(counts) - min(counts) <= 1
            and all(hand.plans and not hand.plans[-1].plan.pending and not hand.opening for hand in there)
            and len({hand.generation for hand in there}) == 1
        )

    def settle(self, seconds: float = 15.0) -> float:
        return self.until(self.settled, seconds, "every task to run in one place")

    def drop(self, hand: Hand) -> None:
        """Let a member die: its connections are closed, without leaving the group."""
        self.hands.remove(hand)
        hand.membership.close()

    def leave(self, hand: Hand) -> None:
        self.hands.remove(hand)
        hand.membership.leave(5)
        hand.membership.close()

    def close(self) -> None:
        for hand in list(self.hands):
            self.leave(hand)
