"""Several processes of one application on one machine: `--workers N`.

The supervisor runs the command it was started with once more for each worker, with TIDEMILL_WORKER set. It starts a
worker again when it dies, passes a stop on, and ends with the right exit code; `verdict` decides which deaths are
mended by starting again. It touches neither Kafka nor state. Workers notice by a pipe when the supervisor is gone, and
stop.

    STARTING -> RUNNING --worker dies--> verdict: start again after a while, or stop all with this exit code
                   '------signal-------> STOPPING --all gone, or too late--> exit
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..operators.durations import format_duration
from .clock import Clock
from .config import Settings
from .errors import EXIT_BUG, EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_KAFKA, EXIT_OK, EXIT_RECORD, EXIT_STATE, ConfigError
from .serve.web import WebServer, listen
from .serve.workers import Scraped, worker_pages
from .signals import StopSignals, stop_with_parent

__all__ = ["GiveUp", "Inherited", "Restart", "Supervisor", "inherit", "own_command", "verdict"]

VARIABLE: Final = "TIDEMILL_SUPERVISOR"
WORKER_VARIABLE: Final = "TIDEMILL_WORKER"

LOG: Final = logging.getLogger("tidemill.supervisor")

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
LAST_WAIT_MS: Final = 2_000
"""How long workers have to vanish after a second signal, and after `stop_timeout`, before they are killed."""


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
        return GiveUp(EXIT_BUG, f"it died {quick_deaths} times in a row soon after its start")
    return Restart(0 if quick_deaths <= 1 else min(1000 << (quick_deaths - 2), LONGEST_DELAY_MS))


def own_command() -> list[str]:
    """The command this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


@dataclass(frozen=True)
class Inherited:
    """What a worker has from its supervisor."""

    web: socket.socket | None
    """The listening socket on which the supervisor asks for the worker's figures."""


def inherit(environ: MutableMapping[str, str]) -> Inherited | None:
    """What this process has from its supervisor, None when it is nobody's worker.

    From now on it stops when the supervisor is gone. The variables are taken out of the environment: they are not meant
    for processes that a user's function starts.
    """
    given = environ.pop(VARIABLE, None)
    if given is None:
        return None
    environ.pop(WORKER_VARIABLE, None)
    parent, web = (int(part) for part in given.split(","))
    stop_with_parent(parent)
    return Inherited(socket.socket(fileno=web) if web >= 0 else None)


@dataclass
class Worker:
    """One place among the workers, and the process that fills it at the moment."""

    number: int
    web: socket.socket | None
    process: subprocess.Popen[bytes] | None = None
    started: int = 0
    start_at: int = 0
    quick_deaths: int = 0
    restarts: int = 0

    @property
    def alive(self) -> bool:
        """True when there is a process."""
        return self.process is not None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)


class Supervisor:
    """Runs the workers of one application."""

    def __init__(self, settings: Settings, command: Sequence[str], clock: Clock, environ: Mapping[str, str]) -> None:
        """`command` starts one worker; it is told its number by the environment."""
        if settings.worker:
            raise ConfigError(
                "worker and workers cannot be set together: with workers the supervisor numbers them itself"
            )
        self._settings = settings
        self._command = list(command)
        self._clock = clock
        self._environ = dict(environ)
        self._life: tuple[int, int] = (-1, -1)
        self._workers = [
            Worker(number, None if settings.web is None else listen("127.0.0.1", 0))
            for number in range(settings.workers)
        ]

    def run(self, announce: Callable[[str], None]) -> int:
        """Runs until stopped; gives the exit code. `announce` is told where the figures of all workers are served."""
        settings = self._settings
        web = None
        self._life = os.pipe()
        try:
            with StopSignals(children=True, at_once=False) as signals:
                if settings.web is not None:
                    web = WebServer(listen(settings.web_host, settings.web), worker_pages(self._scraped))
                    announce(web.url)
                for worker in self._workers:
                    self._start(worker)
                try:
                    code = self._watch(signals)
                    return self._stop(signals, code)
                finally:
                    for worker in self._workers:
                        worker.send(signal.SIGKILL)
        finally:
            for descriptor in self._life:
                os.close(descriptor)
            if web is not None:
                web.close()
            for worker in self._workers:
                if worker.web is not None:
                    worker.web.close()

    def _start(self, worker: Worker) -> None:
        inherited = [self._life[0], *([worker.web.fileno()] if worker.web is not None else [])]
        worker.process = subprocess.Popen(
            self._command,
            env={
                **self._environ,
                WORKER_VARIABLE: str(worker.number),
                VARIABLE: f"{self._life[0]},{-1 if worker.web is None else worker.web.fileno()}",
            },
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            start_new_session=True,  # a Ctrl-C on the terminal comes to the supervisor alone
        )
        worker.started = self._clock.monotonic()
        LOG.info("worker %d: started (pid %d)", worker.number, worker.process.pid)

    def _watch(self, signals: StopSignals) -> int:
        """Keeps the workers running; gives the exit code when all are to be stopped."""
        while not signals():
            now = self._clock.monotonic()
            for worker in self._workers:
                code = self._reap(worker)
                if code is not None:
                    lived = now - worker.started
                    worker.quick_deaths = worker.quick_deaths + 1 if lived < QUICK_MS else 1
                    decided = verdict(code, worker.quick_deaths)
                    if isinstance(decided, GiveUp):
                        LOG.error("worker %d %s: %s; stopping all workers", worker.number, describe(code), decided.why)
                        return decided.code
                    worker.start_at = now + decided.delay_ms
                    when = f"in {format_duration(decided.delay_ms)}" if decided.delay_ms else "now"
                    LOG.warning("worker %d %s; starting it again %s", worker.number, describe(code), when)
                if not worker.alive and worker.start_at <= now:
                    worker.restarts += 1
                    self._start(worker)
            waits = [worker.start_at - now for worker in self._workers if not worker.alive]
            signals.wait(max(min([*waits, 1000]), 0) / 1000)
        return EXIT_OK

    def _stop(self, signals: StopSignals, code: int) -> int:
        """Stops all workers; gives the exit code of the whole."""
        asked = signals.asked
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        deadline = self._clock.monotonic() + self._settings.stop_timeout + LAST_WAIT_MS
        while any(worker.alive for worker in self._workers):
            for worker in self._workers:
                ended = self._reap(worker)
                if ended and ended != -signal.SIGTERM:  # of that die only those that have not begun yet
                    LOG.warning("worker %d %s while it stopped", worker.number, describe(ended))
                    code = code or (ended if ended > 0 else EXIT_INTERRUPTED)
            now = self._clock.monotonic()
            if signals.asked > max(asked, 1):
                asked, code = signals.asked, EXIT_INTERRUPTED
                deadline = min(deadline, now + LAST_WAIT_MS)
                for worker in self._workers:
                    worker.send(signal.SIGTERM)
            if now >= deadline:
                for worker in self._workers:
                    worker.send(signal.SIGKILL)
            signals.wait(0.1)
        return code

    def _reap(self, worker: Worker) -> int | None:
        """The exit code of a worker that has just ended; None when it runs, or had ended before."""
        code = None if worker.process is None else worker.process.poll()
        if code is not None:
            worker.process = None
        return code

    def _scraped(self) -> list[Scraped]:
        return [
            Scraped(
                worker.number,
                f"http://127.0.0.1:{worker.web.getsockname()[1]}" if worker.alive and worker.web is not None else None,
                worker.restarts,
            )
            for worker in self._workers
        ]


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
