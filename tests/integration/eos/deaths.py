"""Killing a program again and again while it works: at named places of its commit, and at random.

A death is planned from a seed, so a run can be repeated. A program that ends by itself, or that lives on past the place
where it should have died, fails the test; so does a place that no life reached.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.brokers.process import tail
from tests.integration.program import Life, Program

PLACES = (
    "before-produce",
    "after-some-changelog",
    "after-send-offsets",
    "during-commit-before",
    "during-commit-after",
    "after-commit-before-settle",
    "during-settle",
    "during-restore",
    "inside-rebalance",
)
ONCE_A_LIFE = ("during-restore", "inside-rebalance")
"""Places that a life passes at its start, so that its first passage is the one to die at."""
LEAVES_A_TAIL = "after-commit-before-settle"
"""A place that leaves stores behind their changelogs for certain."""


@dataclass(frozen=True)
class Death:
    """How a life ends: at the nth passage of a place, or so many seconds after it began or began to work."""

    place: str | None = None
    nth: int = 1
    working: bool = False
    after: float = 0.0

    def __str__(self) -> str:
        if self.place is not None:
            return f"{self.place}:{self.nth}"
        return f"{self.after:.2f} s after {'its first work' if self.working else 'its start'}"


def plan(chance: random.Random, *, rounds: int, at_random: int, places: Sequence[str] = PLACES) -> list[Death]:
    """Each place `rounds` times and `at_random` deaths at any moment, shuffled.

    A death in a restore comes after one that leaves something to restore. The first commit of a life may be small; it
    is the place to die now and then.
    """
    deaths = [
        Death(
            place, nth=1 if place in ONCE_A_LIFE else chance.choice((3, 4) if place == LEAVES_A_TAIL else (1, 2, 3, 4))
        )
        for place in places
        for _ in range(rounds)
    ]
    for number in range(at_random):
        working = number % 4 != 0
        deaths.append(Death(working=working, after=chance.uniform(0.0, 1.2 if working else 1.5)))
    last = [death for death in deaths if death.place == LEAVES_A_TAIL]
    pairs = [[last.pop(), death] for death in deaths if death.place == "during-restore"]
    alone = [[death] for death in deaths if death.place not in (LEAVES_A_TAIL, "during-restore")]
    groups = pairs + alone
    chance.shuffle(groups)
    return [death for group in groups for death in group]


@dataclass
class Ordeal:
    """A program that is to die many times, and what became of it."""

    program: Program
    works: str
    """A pattern: the log line that says the program has begun to process."""
    longest: float = 30.0
    """Seconds a life may take to reach its end."""
    died: Counter[str] = field(default_factory=Counter)
    lived: list[float] = field(default_factory=list)

    def run(self, deaths: Sequence[Death]) -> None:
        for death in deaths:
            self.live(death)

    def live(self, death: Death) -> None:
        """One life, to its planned end."""
        begin = time.monotonic()
        if death.place is None:
            life = self.program.start()
            self._die_at_random(life, death)
            self.died["random"] += 1
        else:
            life = self.program.start(failpoint=f"{death.place}:{death.nth}")
            try:
                code = life.exit(self.longest)
            except TimeoutError as error:
                life.kill()
                raise AssertionError(f"life {life.number} did not come to {death}: {error}") from None
            self._was_killed(life, code)
            self.died[death.place] += 1
        self.lived.append(time.monotonic() - begin)

    def _die_at_random(self, life: Life, death: Death) -> None:
        if death.working:
            life.wait_for(self.works, self.longest)
        time.sleep(death.after)
        life.child.kill()
        self._was_killed(life, life.exit())

    @staticmethod
    def _was_killed(life: Life, code: int) -> None:
        if code != -9:
            raise AssertionError(
                f"life {life.number} ended by itself with {code}; its log ends with:\n{tail(life.child.log, 60)}"
            )

    def figures(self) -> str:
        """How many deaths, where, and how long a life was."""
        where = ", ".join(f"{place} {count}" for place, count in sorted(self.died.items()))
        mean = sum(self.lived) / max(1, len(self.lived))
        return f"{sum(self.died.values())} deaths ({where}); {mean:.1f} s a life"
