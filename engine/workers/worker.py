"""A worker process, from both sides: how a supervisor starts and ends it, and what it has from its supervisor.

A worker is the command the supervisor was started with, run once more with TIDEMILL_WORKER set. It inherits a
listening socket on which it serves its figures, and the reading end of a pipe: a byte on it says that another worker is
gone and the group has something new to say, and its end that the supervisor is gone.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ..errors import EXIT_BUG, EXIT_CONFIG, EXIT_KAFKA, EXIT_RECORD, EXIT_STATE
from ..serve.web import listen
from ..signals import stop_with_parent

__all__ = ["GiveUp", "Inherited", "Restart", "Worker", "describe", "inherit", "verdict"]

VARIABLE: Final = "TIDEMILL_SUPERVISOR"
WORKER_VARIABLE: Final = "TIDEMILL_WORKER"

EXIT_MACHINE: Final = 71
"""No process could be started; EX_OSERR of sysexits.h."""

FINAL_CODES: Final = {
    EXIT_RECORD: "a record could not be processed, and starting again would only meet it again",
    EXIT_CONFIG: "settings or program are wrong",
    EXIT_KAFKA: "Kafka cannot be reached or refuses",
    EXIT_STATE: "the state directory is unusable",
}
QUICK_MS: Final = 60_000
"""A worker that dies sooner than this after its start has died quickly."""
LONGEST_DELAY_MS: Final = 30_000
MOST_QUICK_DEATHS: Final = 8
SIGNALLED: Final = 128
"""A shell gives this plus the number of the signal as the exit code of what a signal has killed."""
SILENT_LOOKS: Final = 3
"""So often in a row a worker must have given no answer before it counts as hanging: the supervisor may have stood still
itself."""


@dataclass(frozen=True)
class Restart:
    """Start the worker again after a while."""

    delay_ms: int


@dataclass(frozen=True)
class GiveUp:
    """Stop all workers and end with this exit code."""

    code: int
    why: str


def verdict(code: int, quick_deaths: int) -> Restart | GiveUp:
    """What the death of a worker calls for.

    `code` is its exit code, negative when a signal killed it; `quick_deaths` how often in a row it died soon after its
    start, this time included. The first restart is at once: the work of a dead worker waits.
    """
    if code in FINAL_CODES:
        return GiveUp(code, FINAL_CODES[code])
    if quick_deaths >= MOST_QUICK_DEATHS:
        why = f"it died {quick_deaths} times in a row soon after its start"
        return GiveUp(SIGNALLED - code if code < 0 else code or EXIT_BUG, why)
    return Restart(0 if quick_deaths <= 1 else min(1000 << (quick_deaths - 2), LONGEST_DELAY_MS))


@dataclass
class Worker:
    """One place among the workers, and the process that fills it at the moment."""

    number: int
    web: socket.socket = field(default_factory=lambda: listen("127.0.0.1", 0))
    """Where its figures are asked for; the same for all processes that take the place."""
    process: subprocess.Popen[bytes] | None = None
    line: int = -1
    """The writing end of the pipe to the process."""
    life: int = 0
    """How many processes have taken the place."""
    started: int = 0
    start_at: int = 0
    """When a dead one is to be started again."""
    stop_by: int | None = None
    """When one that was asked to stop is killed; None while it is wanted."""
    quick_deaths: int = 0
    restarts: int = 0
    heard: int = 0
    """When the process last gave an answer; 0 while it has given none."""
    silent: int = 0
    """How often in a row it has given none since."""
    aborted: int | None = None
    """When it was sent SIGABRT because it hangs."""

    @property
    def alive(self) -> bool:
        """True when there is a process."""
        return self.process is not None

    @property
    def url(self) -> str | None:
        """Where it answers; None when there is no process."""
        return f"http://127.0.0.1:{self.web.getsockname()[1]}" if self.alive else None

    def start(self, command: Sequence[str], environ: Mapping[str, str], now: int) -> int:
        """Starts a process; gives its pid. Raises OSError when the system refuses."""
        reading, line = os.pipe()
        try:
            self.process = subprocess.Popen(
                command,
                env={**environ, WORKER_VARIABLE: str(self.number), VARIABLE: f"{reading},{self.web.fileno()}"},
                stdin=subprocess.DEVNULL,
                pass_fds=[reading, self.web.fileno()],
                start_new_session=True,  # a Ctrl-C on the terminal comes to the supervisor alone
            )
        except OSError:
            os.close(line)
            raise
        finally:
            os.close(reading)
        self.line, self.started = line, now
        self.heard, self.silent, self.aborted = 0, 0, None
        self.life += 1
        return self.process.pid

    def looked(self, answered: bool, now: int) -> None:
        """Takes in whether the process has given an answer."""
        if answered:
            self.heard, self.silent = now, 0
        elif self.alive:
            self.silent += 1

    def hangs(self, limit: int, now: int) -> bool:
        """Whether the process, which gave answers once, has given none for longer than `limit` ms."""
        return self.alive and self.heard > 0 and self.silent >= SILENT_LOOKS and now - self.heard > limit

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)

    def nudge(self) -> None:
        """Has the process ask the group at once what is new, if there is one."""
        if self.process is not None:
            with suppress(OSError):  # it is just ending
                os.write(self.line, b"\0")

    def reap(self) -> int | None:
        """The exit code of a process that has just ended; None when it runs, or had ended before."""
        code = None if self.process is None else self.process.poll()
        if code is not None:
            self.process = None
            os.close(self.line)
            self.line = -1
        return code

    def not_started(self, now: int) -> Restart | GiveUp:
        """Counts a start that the system has refused as a death soon after a start."""
        self.started = now
        return self.died(EXIT_MACHINE, now)

    def died(self, code: int, now: int) -> Restart | GiveUp:
        """Counts a death that nobody asked for; says what it calls for."""
        self.quick_deaths = self.quick_deaths + 1 if now - self.started < QUICK_MS else 1
        decided = verdict(code, self.quick_deaths)
        if isinstance(decided, Restart):
            self.start_at = now + decided.delay_ms
        return decided


@dataclass(frozen=True)
class Inherited:
    """What a worker has from its supervisor."""

    web: socket.socket
    """The listening socket on which the supervisor asks for the worker's figures."""
    nudged: threading.Event
    """Set when another worker is gone, and the group will say so to who asks."""


def inherit(environ: MutableMapping[str, str]) -> Inherited | None:
    """What this process has from its supervisor, None when it is nobody's worker.

    From now on it stops when the supervisor is gone, and writes its stacks to standard error when SIGABRT ends it, by
    which the supervisor ends a worker that hangs. The variables are taken out of the environment: they are not meant
    for processes that a user's function starts.
    """
    given = environ.pop(VARIABLE, None)
    if given is None:
        return None
    environ.pop(WORKER_VARIABLE, None)
    faulthandler.enable()
    parent, web = (int(part) for part in given.split(","))
    return Inherited(socket.socket(fileno=web), stop_with_parent(parent))


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
