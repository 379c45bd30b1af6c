"""What a process does for a savepoint or a cut-over, as a state machine. Pure.

    IDLE ── a command gathers ──▶ READY ── it is to hold ──▶ HOLDING ── committed ──▶ HELD ─ released ──▶ SAVING ─▶ DONE
      ▲                           │ ▲ │                         │                     │                    │        │
      │      its tasks changed ───┘ └─┘                         ▼                     ▼                    ▼        │
      │                                 FAILED: it says why, lets its tasks go on, and waits for the end            │
      └──────────────── the command has ended the attempt, or says nothing any more ◀───────────────────────────────┘

In a cut-over a process that is HELD has its tasks RUNNING up to given positions when the command says so, and HOLDING
again after that. It is STANDING when its tasks have committed that they stand still, and DONE when the cut-over is done
or undone.

A process serves one attempt at a time, of several the earliest. It holds its tasks for `hold_ms` at the most, whatever
the command does (`hold.py` sees to that).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from .messages import Command

__all__ = ["SILENT_MS", "Action", "Heard", "ParticipationPhase", "Participation", "Seen", "decide", "ended", "failed"]

SILENT_MS = 15_000
"""A command that has not written for so long is dead."""


class ParticipationPhase(Enum):
    """How far a process is with an attempt."""

    IDLE = "idle"
    READY = "ready"
    HOLDING = "holding"
    HELD = "held"
    RUNNING = "running"
    STANDING = "standing"
    SAVING = "saving"
    DONE = "done"
    FAILED = "failed"


class Action(Enum):
    """What the process does next; each is followed by another decision."""

    NOTHING = "nothing"
    TELL_READY = "tell that it is ready, and its tasks"
    TELL_FAILED = "let the tasks go on, and tell why it has failed"
    HOLD = "have the tasks committed and held"
    LINK = "link the files of the stores, and tell that it holds its tasks"
    TELL_HELD = "tell that it holds its tasks"
    RUN = "let the tasks run up to given positions"
    STAND = "have the tasks commit that they stand still"
    TELL_DONE = "tell that its tasks go on after the cut-over"
    CONFIRM = "ask the group whether it is still a member, let the tasks go on, and tell that it did"
    SAVE = "upload, and tell that it has"
    LET_GO = "let the tasks go on"


@dataclass(frozen=True)
class Heard:
    """The last message of an attempt's command, and when its number was first seen, in ms."""

    number: int
    at: int


@dataclass(frozen=True)
class Participation:
    """A process in one attempt."""

    phase: ParticipationPhase = ParticipationPhase.IDLE
    attempt: str = ""
    tasks: int = -1
    """The version of its tasks that it has told."""
    report: int = -1
    """The number of its last report."""
    step: int = 0
    """Of a cut-over: the last step that it has taken."""
    why: str = ""
    heard: Mapping[str, Heard] = field(default_factory=dict[str, Heard])
    """By attempt."""
    over: frozenset[str] = frozenset()
    """Attempts that it takes no part in any more."""


@dataclass(frozen=True)
class Seen:
    """What a process sees when it decides."""

    commands: Mapping[str, tuple[int, Command]]
    """The newest message of each attempt's command, with its number."""
    tasks: int
    """The version of its running tasks: another number after each change."""
    hold: Literal["none", "waiting", "held", "stands", "broken"]
    """Whether the loop holds the tasks; `broken` if it did and does not any more."""
    why: str
    """Why the hold was broken."""
    now: int


def decide(process: str, state: Participation, seen: Seen) -> tuple[Participation, Action]:
    """Return the next state of a process and what it does."""
    state = _listened(state, seen)
    if state.phase is ParticipationPhase.IDLE:
        attempt = _earliest(state, seen)
        if attempt is None:
            return state, Action.NOTHING
        return replace(state, phase=ParticipationPhase.READY, attempt=attempt, tasks=seen.tasks), Action.TELL_READY
    found = seen.commands.get(state.attempt)
    if found is None or found[1].phase == "end" or not _alive(state, state.attempt, seen.now):
        return ended(state), Action.LET_GO
    command = found[1]
    match state.phase:
        case ParticipationPhase.READY:
            return _ready(process, state, seen, command)
        case ParticipationPhase.HOLDING | ParticipationPhase.HELD if seen.hold in ("broken", "none"):
            return failed(state, seen.why or "its tasks are not held any more"), Action.TELL_FAILED
        case ParticipationPhase.HOLDING if seen.hold == "held":
            does = Action.TELL_HELD if command.cutover else Action.LINK
            return replace(state, phase=ParticipationPhase.HELD), does
        case ParticipationPhase.RUNNING if seen.hold == "broken" or seen.tasks != state.tasks:
            return failed(state, seen.why or "its tasks have changed"), Action.TELL_FAILED
        case ParticipationPhase.STANDING if seen.hold == "broken":
            return failed(state, seen.why), Action.TELL_FAILED
        case ParticipationPhase.STANDING if seen.hold == "none":
            return replace(state, phase=ParticipationPhase.DONE), Action.TELL_DONE
        case ParticipationPhase.HELD | ParticipationPhase.RUNNING if command.step > state.step:
            return _stepped(state, command)
        case ParticipationPhase.HELD if command.phase == "release":
            return replace(state, phase=ParticipationPhase.SAVING), Action.CONFIRM
        case ParticipationPhase.SAVING:
            return replace(state, phase=ParticipationPhase.DONE), Action.SAVE
        case _:
            return state, Action.NOTHING


def _ready(process: str, state: Participation, seen: Seen, command: Command) -> tuple[Participation, Action]:
    first = _earliest(state, seen)
    if command.phase == "gather":
        if first is not None and first < state.attempt:
            # It is not over: it comes after the other one.
            why = "another savepoint is made first"
            return replace(state, phase=ParticipationPhase.IDLE, why=why), Action.TELL_FAILED
        if seen.tasks != state.tasks:
            return replace(state, tasks=seen.tasks), Action.TELL_READY
        return state, Action.NOTHING
    if process not in command.named:
        return state, Action.NOTHING
    if command.phase == "hold" and command.named[process] == state.report and seen.tasks == state.tasks:
        return replace(state, phase=ParticipationPhase.HOLDING, step=command.step), Action.HOLD
    return failed(state, "its tasks have changed"), Action.TELL_FAILED


def _stepped(state: Participation, command: Command) -> tuple[Participation, Action]:
    """Return the next step of a cut-over."""
    match command.phase:
        case "run" if state.phase is ParticipationPhase.HELD:
            return replace(state, phase=ParticipationPhase.RUNNING, step=command.step), Action.RUN
        case "hold":
            return replace(state, phase=ParticipationPhase.HOLDING, step=command.step), Action.HOLD
        case "stand" if state.phase is ParticipationPhase.HELD:
            return replace(state, phase=ParticipationPhase.STANDING, step=command.step), Action.STAND
        case _:
            return failed(state, f"it cannot {command.phase} now"), Action.TELL_FAILED


def failed(state: Participation, why: str) -> Participation:
    """Return the state after a failure: the tasks are released, and the failure is reported."""
    return replace(state, phase=ParticipationPhase.FAILED, why=why)


def ended(state: Participation) -> Participation:
    """Return the state after the end of its attempt."""
    return Participation(heard=state.heard, over=state.over | {state.attempt})


def _listened(state: Participation, seen: Seen) -> Participation:
    """Note when each command was last heard, and forget attempts that are gone."""
    heard = {
        attempt: known if (known := state.heard.get(attempt)) and known.number == number else Heard(number, seen.now)
        for attempt, (number, _) in seen.commands.items()
    }
    return replace(state, heard=heard, over=state.over & heard.keys())


def _alive(state: Participation, attempt: str, now: int) -> bool:
    return now - state.heard[attempt].at < SILENT_MS


def _earliest(state: Participation, seen: Seen) -> str | None:
    """Return the earliest attempt whose command gathers processes."""
    wanted = (
        attempt
        for attempt, (_, command) in seen.commands.items()
        if command.phase == "gather" and attempt not in state.over and _alive(state, attempt, seen.now)
    )
    return min(wanted, default=None)
