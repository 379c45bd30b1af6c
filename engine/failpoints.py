"""Named places where a test may make this process die, fail, stop or be slow.

`TIDEMILL_FAILPOINT="name[:nth][=kill|raise|stop|slow]"` arms one: at its nth passage (the first by default) the process
kills itself with SIGKILL, raises `FailpointReached`, or stops itself with SIGSTOP; with `slow`, it sleeps for a short
time at each passage from the nth on, as on a slow disk. If the variable is not set, `hit` is a function that does
nothing; it is called once per commit, never once per record.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..operators.suggest import did_you_mean
from .errors import ConfigError

__all__ = ["NAMES", "VARIABLE", "Failpoint", "FailpointReached", "arm", "hit", "parse"]

VARIABLE: Final = "TIDEMILL_FAILPOINT"

NAMES: Final = (
    "before-produce",
    "after-some-changelog",
    "after-send-offsets",
    "during-commit-before",
    "during-commit-after",
    "after-commit-before-settle",
    "during-settle",
    "during-restore",
    "after-local-write",
    "during-snapshot",
    "during-upload",
    "before-manifest",
    "after-manifest",
    "during-download",
    "inside-rebalance",
    "during-hand-over",
    "during-cut",
    "during-savepoint",
    "during-stand",
    "during-cutover",
    "during-refill",
    "during-load",
    "during-reshard",
    "before-target-write",
    "during-target-write",
    "after-target-write",
    "during-target-publish",
    "between-target-files",
)


ACTIONS: Final = ("kill", "raise", "stop", "slow")
SLOW_SECONDS: Final = 0.25


class FailpointReached(Exception):
    """Raised at an armed failpoint with the action "raise"."""


@dataclass
class Failpoint:
    """An armed failpoint: what to do at which passage."""

    name: str
    nth: int = 1
    action: str = "kill"
    passed: int = 0

    def __call__(self, name: str) -> None:
        if name != self.name:
            return
        self.passed += 1
        if self.action == "slow" and self.passed >= self.nth:
            time.sleep(SLOW_SECONDS)
        if self.passed != self.nth or self.action == "slow":
            return
        if self.action == "raise":
            raise FailpointReached(name)
        os.kill(os.getpid(), signal.SIGSTOP if self.action == "stop" else signal.SIGKILL)


def parse(text: str) -> Failpoint:
    """Parse `name[:nth][=kill|raise|stop|slow]`."""
    head, equals, action = text.partition("=")
    name, colon, nth = head.partition(":")
    if name not in NAMES:
        raise ConfigError(f"{VARIABLE}={text!r}: there is no failpoint {name!r}{did_you_mean(name, NAMES)}")
    if colon and not (nth.isdecimal() and int(nth) > 0):
        raise ConfigError(f"{VARIABLE}={text!r}: {nth!r} is not a count; write {name}:2 for the second passage")
    if equals and action not in ACTIONS:
        raise ConfigError(f"{VARIABLE}={text!r}: the action is one of {', '.join(ACTIONS)}, not {action!r}")
    return Failpoint(name, int(nth) if colon else 1, action or "kill")


def nothing(_name: str, /) -> None:
    """Do nothing: the `hit` of a process without an armed failpoint."""


def arm(text: str | None) -> Callable[[str], None]:
    """Return the function for `hit`, by the value of the variable."""
    return parse(text) if text else nothing


hit: Callable[[str], None] = arm(os.environ.get(VARIABLE))
