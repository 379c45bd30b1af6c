"""A process in a cut-over: its tasks run up to given positions, are held there, and stand still."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

from tidemill.engine.clock import ManualClock
from tidemill.engine.savepoints.hold import Ended, Hold, HoldableTask, Limit, Stand, Turn
from tidemill.engine.savepoints.messages import Command, InputOffset
from tidemill.engine.savepoints.participation import Action, Participation, ParticipationPhase, Seen, decide
from tidemill.engine.tasks.roles import ACTIVE, Role

ENDS = {("in", 0): 7}


def tasks() -> list[HoldableTask]:
    part = SimpleNamespace(stores=[])
    made: Any = SimpleNamespace(id="0_0", subtopology=part, stores={}, committed=lambda: {("in", 0): 5})
    return [made]


def held(hold: Hold, mine: list[HoldableTask]) -> None:
    hold.ask(100)
    assert hold.next(mine) is Turn.REACH
    hold.reached(mine)
    assert hold.next(mine) is Turn.WAIT


def test_tasks_run_to_their_ends_and_are_held_when_nothing_is_left() -> None:
    hold, mine = Hold(ManualClock(0)), tasks()
    assert not hold.busy
    held(hold, mine)
    hold.run(ENDS, 100)
    assert hold.next(mine) == Limit(ENDS)
    assert hold.next(mine) == Limit(ENDS), "the loop has not done it: its commit has failed"
    hold.limited(ENDS)
    assert hold.next(mine) is Turn.RUN
    hold.ask(100, rest=True)
    assert hold.rests
    assert hold.next(mine, resting=False) is Turn.RUN
    assert hold.next(mine, resting=True) is Turn.REACH
    hold.reached(mine)
    assert hold.next(mine, resting=True) is Turn.WAIT
    hold.release()
    assert hold.next(mine) == Limit({})
    hold.limited({})
    assert hold.next(mine) is Turn.RUN
    assert not hold.busy


def test_tasks_that_run_to_their_ends_go_on_after_their_time() -> None:
    clock = ManualClock(0)
    hold, mine = Hold(clock), tasks()
    held(hold, mine)
    hold.run(ENDS, 100)
    hold.next(mine)
    hold.limited(ENDS)
    clock.advance(101)
    assert hold.next(mine) == Limit({})
    assert hold.status() == ("broken", "its tasks were held for too long")


def test_tasks_that_stand_still_go_on_only_when_that_is_resolved() -> None:
    clock = ManualClock(0)
    hold, mine = Hold(clock), tasks()
    hold.stand("views-2", "a1")
    assert hold.next(mine) is Turn.RUN, "tasks that are not held do not stand still"
    held(hold, mine)
    hold.stand("views-2", "a1")
    assert hold.next(mine) == Stand("views-2", "a1")
    assert hold.next(mine) == Stand("views-2", "a1"), "the commit has failed"
    hold.stood(mine)
    assert hold.standing() == (("in", 0),)
    assert hold.status()[0] == "stands"
    clock.advance(10_000_000)
    hold.release()
    assert hold.next(mine) is Turn.WAIT
    more = mine + tasks()  # a task that has been opened meanwhile does not run either
    assert hold.next(more) is Turn.WAIT
    role = Role("views-2", kind="retired")
    hold.resolve(role)
    assert hold.next(more) == Ended(role)
    assert hold.next(more) is Turn.RUN
    assert hold.standing() == ()


def test_nothing_stands_still_when_the_tasks_have_gone() -> None:
    hold, mine = Hold(ManualClock(0)), tasks()
    held(hold, mine)
    hold.stand("views-2", "a1")
    hold.stood(mine)
    assert hold.next([]) is Turn.RUN  # opened again, they wait for the end of the cut-over before they run
    hold.resolve(ACTIVE)
    assert hold.next([]) is Turn.RUN


class Process:
    """A process, as its thread sees it."""

    def __init__(self) -> None:
        self.state = Participation()
        self.hold: Literal["none", "waiting", "held", "stands", "broken"] = "none"
        self.number = 0

    def hears(self, command: Command, tasks: int = 1) -> Action:
        self.number += 1
        seen = Seen({"a1": (self.number, command)}, tasks, self.hold, "", 0)
        self.state, action = decide("p", self.state, seen)
        if action is Action.TELL_READY:
            self.state = replace(self.state, report=3)
        return action


def step(phase: Any, number: int, *ends: InputOffset) -> Command:
    return Command(phase, {"p": 3}, 100, "views-2", number, ends)


def test_a_process_follows_the_steps_of_a_cut_over() -> None:
    process = Process()
    assert process.hears(step("gather", 0)) is Action.TELL_READY
    assert process.hears(step("hold", 1)) is Action.HOLD
    process.hold = "held"
    assert process.hears(step("hold", 1)) is Action.TELL_HELD
    assert process.hears(step("hold", 1)) is Action.NOTHING
    assert process.hears(step("run", 2, InputOffset("in", 0, 7))) is Action.RUN
    process.hold = "none"
    assert process.hears(step("run", 2, InputOffset("in", 0, 7))) is Action.NOTHING
    assert process.hears(step("hold", 3, InputOffset("in", 0, 7))) is Action.HOLD
    process.hold = "held"
    assert process.hears(step("hold", 3)) is Action.TELL_HELD
    assert process.hears(step("stand", 4)) is Action.STAND
    assert process.hears(step("stand", 4)) is Action.NOTHING
    process.hold = "stands"
    assert process.hears(step("stand", 4)) is Action.NOTHING
    process.hold = "none"
    assert process.hears(step("stand", 4)) is Action.TELL_DONE
    assert process.hears(Command("end")) is Action.LET_GO
    assert process.state.phase is ParticipationPhase.IDLE


def test_a_process_whose_tasks_change_fails_the_attempt() -> None:
    process = Process()
    process.hears(step("gather", 0))
    process.hears(step("hold", 1))
    process.hold = "held"
    process.hears(step("hold", 1))
    process.hears(step("run", 2))
    process.hold = "none"
    assert process.hears(step("run", 2), tasks=2) is Action.TELL_FAILED
    other = Process()
    other.hears(step("gather", 0))
    other.hears(step("hold", 1))
    other.hold = "held"
    other.hears(step("hold", 1))
    other.hears(step("stand", 2))
    other.hold = "broken"
    assert other.hears(step("stand", 2)) is Action.TELL_FAILED
