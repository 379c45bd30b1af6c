"""A worker process: how the supervisor starts and ends it, and what the worker inherits.

A worker runs the command of the supervisor again, with TIDEMILL_WORKER set. It inherits a listening socket on which it
serves its metrics, and the read end of a pipe. A byte on the pipe means that another worker has ended and the group has
changed. End of file means that the supervisor has ended.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ..errors import EXIT_BUG, EXIT_CONFIG, EXIT_KAFKA, EXIT_RECORD, EXIT_STATE
from ..serve.web import listen
from ..signals import stop_with_parent
from .inherited import Inherited

__all__ = ["GiveUp", "Restart", "Worker", "decide_restart", "describe", "inherit"]

VARIABLE: Final = "TIDEMILL_SUPERVISOR"
WORKER_VARIABLE: Final = "TIDEMILL_WORKER"

EXIT_MACHINE: Final = 71
"""The system could not start a process; EX_OSERR of sysexits.h."""

FINAL_CODES: Final = {
    EXIT_RECORD: "a record could not be processed, and a restart would meet it again",
    EXIT_CONFIG: "settings or program are wrong",
    EXIT_KAFKA: "Kafka cannot be reached or refuses",
    EXIT_STATE: "the state directory is unusable",
}
QUICK_MS: Final = 60_000
"""A death sooner than this after the start counts as a quick death."""
LONGEST_DELAY_MS: Final = 30_000
MOST_QUICK_DEATHS: Final = 8
SIGNALLED: Final = 128
"""Shells report this plus the signal number as the exit code of a killed process."""
SILENT_LOOKS: Final = 3
"""How many consecutive scrapes must fail before a worker counts as hanging.

The supervisor itself may have been suspended.
"""


@dataclass(frozen=True)
class Restart:
    """The decision to restart the worker after a delay."""

    delay_ms: int


@dataclass(frozen=True)
class GiveUp:
    """The decision to stop all workers and exit with this code."""

    code: int
    why: str


def decide_restart(code: int, quick_deaths: int) -> Restart | GiveUp:
    """Return what to do after the death of a worker.

    `code` is its exit code, negative if a signal killed it; `quick_deaths` is the number of consecutive quick deaths
    including this one. The first restart is immediate, since the work of a dead worker waits.
    """
    if code in FINAL_CODES:
        return GiveUp(code, FINAL_CODES[code])
    if quick_deaths >= MOST_QUICK_DEATHS:
        why = f"it died {quick_deaths} times in a row soon after its start"
        return GiveUp(SIGNALLED - code if code < 0 else code or EXIT_BUG, why)
    return Restart(0 if quick_deaths <= 1 else min(1000 << (quick_deaths - 2), LONGEST_DELAY_MS))


@dataclass
class Worker:
    """A numbered worker, and its current process if there is one."""

    number: int
    web: socket.socket = field(default_factory=lambda: listen("127.0.0.1", 0))
    """The socket that serves its metrics; the same for all its processes."""
    process: subprocess.Popen[bytes] | None = None
    line: int = -1
    """The write end of the pipe to the process."""
    life: int = 0
    """Number of processes started for this worker so far."""
    started: int = 0
    start_at: int = 0
    """When to restart a dead worker."""
    stop_by: int | None = None
    """When a stopping worker is killed; None if it is not being stopped."""
    quick_deaths: int = 0
    restarts: int = 0
    heard: int = 0
    """When the process last responded; 0 if it has not responded yet."""
    silent: int = 0
    """Number of consecutive scrapes without a response since then."""
    done: bool = False
    """Whether it has ended because the batch is done."""
    aborted: int | None = None
    """When SIGABRT was sent because it hangs."""

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.process is not None

    @property
    def url(self) -> str | None:
        """The URL of its web server; None if there is no process."""
        return f"http://127.0.0.1:{self.web.getsockname()[1]}" if self.alive else None

    def start(self, command: Sequence[str], environ: Mapping[str, str], now: int) -> int:
        """Start a process and return its pid. Raises OSError if the system refuses."""
        reading, line = os.pipe()
        try:
            self.process = subprocess.Popen(
                command,
                env={**environ, WORKER_VARIABLE: str(self.number), VARIABLE: f"{reading},{self.web.fileno()}"},
                stdin=subprocess.DEVNULL,
                pass_fds=[reading, self.web.fileno()],
                start_new_session=True,  # Ctrl-C on the terminal reaches only the supervisor
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
        """Record whether the process has responded to a scrape."""
        if answered:
            self.heard, self.silent = now, 0
        elif self.alive:
            self.silent += 1

    def hangs(self, limit: int, now: int) -> bool:
        """Return whether the process has not responded for `limit` ms, after it once had."""
        return self.alive and self.heard > 0 and self.silent >= SILENT_LOOKS and now - self.heard > limit

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)

    def nudge(self) -> None:
        """Have the process query the group at once, if there is one."""
        if self.process is not None:
            with suppress(OSError):  # it is ending
                os.write(self.line, b"\0")

    def reap(self) -> int | None:
        """Return the exit code of a process that has newly ended; None otherwise."""
        code = None if self.process is None else self.process.poll()
        if code is not None:
            self.process = None
            os.close(self.line)
            self.line = -1
        return code

    def not_started(self, now: int) -> Restart | GiveUp:
        """Count a start that the system has refused as a quick death."""
        self.started = now
        return self.died(EXIT_MACHINE, now)

    def died(self, code: int, now: int) -> Restart | GiveUp:
        """Count an unexpected death and return what to do."""
        self.quick_deaths = self.quick_deaths + 1 if now - self.started < QUICK_MS else 1
        decided = decide_restart(code, self.quick_deaths)
        if isinstance(decided, Restart):
            self.start_at = now + decided.delay_ms
        return decided


def inherit(environ: MutableMapping[str, str]) -> Inherited | None:
    """Return what this process inherits from its supervisor, or None if it is not a worker.

    From now on the process stops when the supervisor has ended. When SIGABRT ends it, with which the supervisor ends a
    hanging worker, it writes its stacks to standard error. The variables are removed from the environment, since they
    are not meant for processes that user functions start.
    """
    given = environ.pop(VARIABLE, None)
    if given is None:
        return None
    environ.pop(WORKER_VARIABLE, None)
    faulthandler.enable()
    parent, web = (int(part) for part in given.split(","))
    return Inherited(socket.socket(fileno=web), stop_with_parent(parent))


def describe(code: int) -> str:
    """Return a description of how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
