"""Kill a program repeatedly while it runs: at failpoints of its commit, and at random times.

Deaths are planned from a seed, so a run can be repeated. The test fails if a program ends by itself, survives the
failpoint at which it should have died, or does not reach a failpoint.
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
SNAPSHOT_PLACES = (
    "after-local-write",
    "during-snapshot",
    "during-upload",
    "before-manifest",
    "after-manifest",
    "before-produce",
    "after-send-offsets",
    "during-commit-before",
    "during-commit-after",
    "after-commit-before-settle",
    "during-settle",
    "during-download",
    "inside-rebalance",
)
"""The failpoints of an application without changelogs."""
ONCE_A_LIFE = ("during-restore", "during-download", "inside-rebalance")
"""Failpoints that are passed at the start, so that the process must die at the first passage."""
LEADS_TO = {"after-commit-before-settle": "during-restore", "after-manifest": "during-download"}
"""Failpoints after which the next start certainly restores: the first leaves stores behind their changelogs, the other
ahead of the committed offsets."""


@dataclass(frozen=True)
class Death:
    """How a life ends: at the nth passage of a failpoint, or a number of seconds after it started (to process)."""

    place: str | None = None
    nth: int = 1
    working: bool = False
    after: float = 0.0

    def __str__(self) -> str:
        if self.place is not None:
            return f"{self.place}:{self.nth}"
        return f"{self.after:.2f} s after {'its first work' if self.working else 'its start'}"


def plan(chance: random.Random, *, rounds: int, at_random: int, places: Sequence[str] = PLACES) -> list[Death]:
    """Plan `rounds` deaths at each failpoint and `at_random` deaths at random times, shuffled.

    A death in a restore follows one that leaves something to restore. The first commit of a life may be small; some
    deaths are in it.
    """
    deaths = [
        Death(place, nth=1 if place in ONCE_A_LIFE else chance.choice((3, 4) if place in LEADS_TO else (1, 2, 3, 4)))
        for place in places
        for _ in range(rounds)
    ]
    for number in range(at_random):
        working = number % 4 != 0
        deaths.append(Death(working=working, after=chance.uniform(0.0, 1.2 if working else 1.5)))
    groups = [[death] for death in deaths]
    for lead, place in LEADS_TO.items():
        later = [group for group in groups if group[0].place == place]
        for group, first in zip(later, [group for group in groups if group[0].place == lead], strict=False):
            groups.remove(first)
            group.insert(0, first[0])
    chance.shuffle(groups)
    return [death for group in groups for death in group]


@dataclass
class Ordeal:
    """A program that is killed many times, and its lives."""

    program: Program
    works: str
    """A pattern of the log line that shows that the program has started to process."""
    longest: float = 90.0
    """The maximum duration of a life, in seconds."""
    died: Counter[str] = field(default_factory=Counter)
    lived: list[float] = field(default_factory=list)

    def run(self, deaths: Sequence[Death]) -> None:
        for death in deaths:
            self.live(death)

    def live(self, death: Death) -> None:
        """Run one life to its planned end."""
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
                raise AssertionError(f"life {life.number} did not reach {death}: {error}") from None
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
        """Return the number of deaths, their failpoints, and the duration of lives."""
        where = ", ".join(f"{place} {count}" for place, count in sorted(self.died.items()))
        mean = sum(self.lived) / max(1, len(self.lived))
        return f"{sum(self.died.values())} deaths ({where}); {mean:.1f} s a life"
