"""Generate the fault schedule of a chaos run from a seed, before the run. Pure functions.

Faults are drawn from a shuffled deck, so that a run of a few minutes contains each kind, and each fault has its end in
the schedule. A fault that needs all instances at once delays others until it is possible. The generator models which
instances are up and which faults affect them, so every fault has a target. Which broker is leader or coordinator is
known only during the run, so the schedule names the role.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

SLOTS = 5
"""Instance slots; between two and five of them are in use."""
FEWEST = 2
BEGIN = 3
"""Instances at the start."""
SESSION = 6.0
"""The session timeout of the instances, in seconds."""
PLACES = (
    "before-produce",
    "after-some-changelog",
    "after-send-offsets",
    "during-commit-before",
    "during-commit-after",
    "after-commit-before-settle",
    "during-settle",
    "inside-rebalance",
)
"""Failpoints at which a process may be made to die or to pause."""
SNAPSHOT_PLACES = (
    "after-local-write",
    "during-snapshot",
    "during-upload",
    "before-manifest",
    "after-manifest",
    *(place for place in PLACES if place != "after-some-changelog"),
)
"""The same if snapshots are used instead of changelogs."""

INSTANCE_FAULTS = (
    "kill", "kill", "die", "stop", "join", "freeze", "freeze-long", "freeze-inside", "cut", "cut-one-way", "reset",
    "lag", "slow-disk", "clock", "kill-all",
)  # fmt: skip
BROKER_FAULTS = ("broker-kill", "broker-kill", "broker-stop", "broker-freeze", "broker-kill-both")
STORE_FAULT = "store-away"
"""The fault that makes the snapshot storage unavailable, if there is one."""
ROLES = ("leader", "coordinator")


@dataclass(frozen=True, order=True)
class Act:
    """An act at a time, in seconds from the start."""

    at: float
    do: str
    slot: int = -1
    """The instance slot, from 0; -1 for all of them, and for the brokers."""
    how: str = ""
    fault: bool = True
    """False for an act that only ends a fault or restarts an instance."""

    def __str__(self) -> str:
        whom = f" instance {self.slot}" if self.slot >= 0 else ""
        return f"{self.at:7.2f} s  {self.do}{whom}{f' ({self.how})' if self.how else ''}"


@dataclass
class _Model:
    """Which instances are up, and until when faults affect them, according to the schedule so far."""

    chance: random.Random
    until: float
    acts: list[Act] = field(default_factory=list)
    up: list[float] = field(default_factory=lambda: [0.0] * BEGIN + [float("inf")] * (SLOTS - BEGIN))
    """Since when each instance is up; inf while it is down and no start is scheduled."""
    busy: list[float] = field(default_factory=lambda: [0.0] * SLOTS)
    """The end of the current fault of each instance."""
    brokers: float = 0.0
    """The end of the current fault of the brokers."""
    store: float = 0.0
    """The end of the current fault of the snapshot storage."""
    places: tuple[str, ...] = PLACES

    def between(self, low: float, high: float) -> float:
        return round(self.chance.uniform(low, high), 2)

    def add(self, at: float, do: str, slot: int = -1, how: str = "", *, fault: bool = True) -> None:
        self.acts.append(Act(round(at, 2), do, slot, how, fault))

    def whole(self, now: float) -> list[int]:
        return [slot for slot in range(SLOTS) if self.up[slot] <= now and self.busy[slot] <= now]

    def spare(self, now: float) -> list[int]:
        return [slot for slot in range(SLOTS) if self.up[slot] == float("inf") and self.busy[slot] <= now]

    def lasts(self, now: float, seconds: float, rest: float = 1.0) -> float:
        """Return the end of a fault that starts now; never after the end of the schedule."""
        return round(min(now + seconds, self.until - rest), 2)


def make(seed: int, duration: float, *, brokers: bool = True, snapshots: bool = False) -> list[Act]:
    """Return the acts of `duration` seconds, in order of time; at the end there are no faults left.

    `snapshots`: whether they are used instead of changelogs.
    """
    model = _Model(random.Random(seed), duration, places=SNAPSHOT_PLACES if snapshots else PLACES)
    whole = [*INSTANCE_FAULTS, *(BROKER_FAULTS if brokers else ()), *([STORE_FAULT] * 2 if snapshots else [])]
    deck: list[str] = []
    now = model.between(1.0, 2.0)
    while now < duration - 3.0:
        if len(deck) < len(whole):
            deck += model.chance.sample(whole, len(whole))
        waits = now > duration * 2 / 3 and not any(act.do == "kill-all" for act in model.acts)
        drawn = next((kind for kind in (["kill-all"] if waits else deck) if inflict(model, kind, now)), None)
        if drawn is not None:
            deck.remove(drawn)
        now = round(now + model.between(0.5, 3.0), 2)
    return sorted(model.acts)


def inflict(model: _Model, kind: str, now: float) -> bool:
    """Add a fault of this kind and its end; return False if there is no target for it now."""
    if kind.startswith("broker"):
        return _on_brokers(model, kind, now)
    if kind == STORE_FAULT:
        return _on_store(model, now)
    whole = model.whole(now)
    if kind == "join":
        spare = model.spare(now)
        if spare:
            _start(model, model.chance.choice(spare), now, "join", fault=True)
        return bool(spare)
    if kind == "kill-all":
        living = [slot for slot in range(SLOTS) if model.up[slot] <= now]
        if any(model.busy[slot] > now for slot in living):
            return False
        back = model.lasts(now, model.between(0.3, 2.0))
        model.add(now, "kill-all")
        for slot in living:
            _start(model, slot, back)
        return True
    if len(whole) < FEWEST:
        return False
    slot = model.chance.choice(whole)
    _on_instance(model, kind, slot, now)
    return True


def _start(model: _Model, slot: int, at: float, how: str = "", *, fault: bool = False) -> None:
    model.add(at, "start", slot, how, fault=fault)
    model.up[slot] = at
    model.busy[slot] = at + 1.0


def _on_instance(model: _Model, kind: str, slot: int, now: float) -> None:
    chance = model.chance
    match kind:
        case "kill" | "stop":
            model.add(now, kind, slot)
            living = sum(up < float("inf") for up in model.up)
            if living > FEWEST and chance.random() < 0.4:  # its slot stays empty until an instance joins
                model.up[slot] = float("inf")
                model.busy[slot] = now + 2.0
            else:
                _start(model, slot, model.lasts(now, model.between(0.1, 4.0)))
        case "die" | "freeze-inside" | "slow-disk":
            places = [place for place in model.places if place != "inside-rebalance" or kind != "freeze-inside"]
            place = "during-settle" if kind == "slow-disk" else chance.choice(places)
            action = {"die": "kill", "freeze-inside": "stop", "slow-disk": "slow"}[kind]
            model.add(
                now, kind, slot, f"{place}:{1 if place == 'inside-rebalance' else chance.randint(2, 12)}={action}"
            )
            longest = {"die": 5.0, "freeze-inside": SESSION + 5.0, "slow-disk": 10.0}[kind]
            end = model.lasts(now, model.between(longest * 0.6, longest))
            model.add(end, "thaw" if kind == "freeze-inside" else "restart", slot, fault=False)
            model.busy[slot] = end + 1.0
        case "freeze" | "freeze-long":
            model.add(now, kind, slot)
            seconds = model.between(0.3, 3.0) if kind == "freeze" else model.between(SESSION + 1, SESSION + 5)
            end = model.lasts(now, seconds)
            model.add(end, "thaw", slot, fault=False)
            model.busy[slot] = end + 1.0
        case "cut" | "cut-one-way":
            model.add(now, kind, slot, "both" if kind == "cut" else chance.choice(("to_broker", "to_client")))
            end = model.lasts(now, model.between(0.5, SESSION + 6))
            model.add(end, "heal", slot, fault=False)
            model.busy[slot] = end + 1.0
        case "lag":
            model.add(now, kind, slot, f"{model.between(20, 200):.0f} ms")
            end = model.lasts(now, model.between(2, 6))
            model.add(end, "heal", slot, fault=False)
            model.busy[slot] = end
        case "clock":
            model.add(now, kind, slot, chance.choice(("+3600 s", "-3600 s", "+40 s", "-40 s", "0 s")))
        case _:
            model.add(now, kind, slot)


def _on_store(model: _Model, now: float) -> bool:
    if now < model.store:
        return False
    model.add(now, STORE_FAULT)
    end = model.lasts(now, model.between(0.5, 8.0))
    model.add(end, "store-back", fault=False)
    model.store = end + 4.0
    return True


def _on_brokers(model: _Model, kind: str, now: float) -> bool:
    if now < model.brokers or model.until - now < 8:
        return False
    role = "both" if kind == "broker-kill-both" else model.chance.choice(ROLES)
    model.add(now, kind, how=role)
    seconds = model.between(1.0, 3.0) if kind in ("broker-kill-both", "broker-freeze") else model.between(2.0, 7.0)
    end = model.lasts(now, seconds, rest=3.0)
    model.add(end, "broker-back", fault=False)
    model.brokers = end + 10.0
    return True


def plain(acts: Sequence[Act]) -> str:
    """Return the schedule as text."""
    return "\n".join(map(str, acts))
