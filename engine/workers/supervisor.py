"""The supervisor of several processes of one application on one machine: `--workers N`.

It starts the workers (worker.py), restarts a worker that dies and removes the dead member from the group (removals.py),
changes the number of workers on request (control.py) or by their load (autoscale.py), forwards a stop, and ends with
the right exit code. It joins no group and opens no store. Workers stop when the supervisor has ended.

    STARTING -> RUNNING --worker dies--> decision: restart after a delay, or stop all with this exit code
                 |  ^---fewer wanted--> those with the highest numbers stop, the others continue
                 '------signal--------> STOPPING --all ended, or too late--> exit
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from ...operators.time.durations import format_duration
from ..clock import Clock
from ..config.settings import Settings
from ..config.worker_bounds import WorkerBounds
from ..errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError
from ..plan.description import plural
from ..serve.web import WebServer, listen
from ..serve.workers import ScrapeTarget, WorkerMonitor, WorkersCollector, worker_pages
from ..signals import StopSignals
from .autoscale import CATCHING_UP_MS, WorkerLoad, decide, limits
from .control import Control, ControlRequest, ControlResponse, WorkerStatus
from .removals import WorkerRemovals
from .worker import GiveUp, Restart, Worker, describe

__all__ = ["Supervisor", "own_command"]

LOG: Final = logging.getLogger("tidemill.supervisor")

LAST_WAIT_MS: Final = 2_000
"""Time before workers are killed after a second signal, and after `stop_timeout`."""
ABORT_MS: Final = 5_000
"""How long a hanging worker may take to write its stacks."""
LOOK_SECONDS: Final = 2.0
"""Interval of the scrapes of workers."""


def soon(restart: Restart) -> str:
    """Return a description of when a restart is due."""
    return f"in {format_duration(restart.delay_ms)}" if restart.delay_ms else "now"


def own_command() -> list[str]:
    """Return the command with which this process was started."""
    return [sys.executable, *sys.orig_argv[1:]]


class Supervisor:
    """Runs the workers of one application."""

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        clock: Clock,
        environ: Mapping[str, str],
        processors: int,
        tasks: int | None = None,
    ) -> None:
        """Create a supervisor; `command` starts a worker, with its number in the environment.

        `processors` is the number usable by this process, `tasks` that of the application if it is known yet.
        """
        if settings.worker:
            raise ConfigError(
                "worker and workers cannot be set together: with workers the supervisor numbers them itself"
            )
        self._settings = settings
        self._command = list(command)
        self._clock = clock
        self._environ = dict(environ)
        self._processors = processors
        self._tasks = tasks
        self._bounds = settings.autoscale
        self._workers: tuple[Worker, ...] = ()
        """By number. Those from `_wanted` on were scaled down: they are stopping or have ended."""
        self._wanted = 0
        self._changed = 0
        self._history: list[WorkerLoad] = []
        """The load since all workers have been running."""
        self._looks = 0

    def run(self, signals: StopSignals, announce: Callable[[str], None]) -> int:
        """Run until stopped; return the exit code.

        `announce` is called with the URL of the metrics of all workers.
        """
        settings = self._settings
        with ExitStack() as closing:
            closing.callback(self._end)
            self._control = Control(settings, signals.wake)
            closing.callback(self._control.close)
            self._removals = WorkerRemovals(settings, signals.wake)
            closing.callback(self._removals.close)
            self._collector = WorkersCollector(self._scraped)
            if settings.web is not None:
                pages = worker_pages(self._scraped, self._collector)
                web = WebServer(listen(settings.web_host, settings.web), pages)
                closing.callback(web.close)
                announce(web.url)
            self._watch = WorkerMonitor(self._collector, LOOK_SECONDS)
            closing.callback(self._watch.close)
            self._scale(self._first_number())
            return self._stop(signals, self._run(signals))

    def _first_number(self) -> int:
        """Return the initial number of workers."""
        asked = self._useful() if self._settings.workers == "auto" else self._settings.workers
        if self._bounds is None:
            return asked
        within = self._limits(self._bounds)
        return min(max(asked, within.least), within.most)

    def _useful(self) -> int:
        """Return the largest useful number of workers on this machine."""
        return min(self._processors, max(1, self._tasks or self._processors))

    def _limits(self, bounds: WorkerBounds) -> WorkerBounds:
        """Return new bounds without useless workers; log if they differ."""
        within = limits(bounds, self._tasks, self._processors)
        if within != bounds:
            tasks = "" if self._tasks is None else f", {plural(self._tasks, 'task')}"
            use = f"{plural(self._processors, 'processor')}{tasks}"
            LOG.info("autoscale %s: no more than %d are useful here (%s)", bounds, within.most, use)
        return within

    def _scale(self, number: int) -> None:
        """Set the number of workers: those above it stop, new ones are started in the next turn."""
        now = self._clock.monotonic()
        self._workers += tuple(Worker(n) for n in range(len(self._workers), number))
        for worker in self._workers[number : self._wanted]:
            if worker.alive:
                worker.stop_by = now + self._settings.stop_timeout + LAST_WAIT_MS
                worker.send(signal.SIGTERM)
                LOG.info("worker %d: stopping; its tasks move to the others", worker.number)
        for worker in self._workers[self._wanted : number]:
            worker.start_at = now
            worker.quick_deaths = 0
        self._wanted = number
        self._changed = now
        self._history.clear()

    def _run(self, signals: StopSignals) -> int:
        """Keep the workers running; return the exit code when all must stop."""
        while not signals():
            now = self._clock.monotonic()
            for worker in self._workers:
                code = worker.reap()
                if code is not None:
                    ended = self._ended(worker, code, now)
                    if ended is not None:
                        return ended
                if worker.stop_by is not None:
                    if worker.alive and now >= worker.stop_by:
                        worker.send(signal.SIGKILL)
                elif worker.hangs(self._settings.max_poll_interval, now):
                    self._abort(worker, now)
                elif worker.number < self._wanted and not (worker.alive or worker.done) and worker.start_at <= now:
                    ended = self._start(worker, now)
                    if ended is not None:
                        return ended
            if self._removals.done():
                self._nudge()
            self._look(now)
            for waiting in self._control.requests():
                waiting.answer.set_result(self._answer(self._asked(waiting.request)))
            signals.wait(self._pause(self._clock.monotonic()))
        return EXIT_OK

    def _start(self, worker: Worker, now: int) -> int | None:
        """Start a worker; return the exit code of the supervisor if that has failed too often."""
        if worker.life and worker.quick_deaths:
            worker.restarts += 1
        try:
            pid = worker.start(self._command, self._environ, now)
        except OSError as error:
            decided = worker.not_started(now)
            why = f"cannot be started: {error.strerror or error} ({error.filename or self._command[0]})"
            if isinstance(decided, GiveUp):
                LOG.error("worker %d %s; stopping all workers", worker.number, why)
                return decided.code
            LOG.warning("worker %d %s; retrying %s", worker.number, why, soon(decided))
            return None
        LOG.info("worker %d: started (pid %d)", worker.number, pid)
        return None

    def _abort(self, worker: Worker, now: int) -> None:
        """End a hanging worker; its interpreter writes its stacks to standard error."""
        if worker.aborted is None:
            worker.aborted = now
            LOG.error(
                "worker %d hangs: no response for %s, and max_poll_interval is %s; ending it, its stacks follow",
                worker.number,
                format_duration(now - worker.heard),
                format_duration(self._settings.max_poll_interval),
            )
            worker.send(signal.SIGABRT)
        elif now - worker.aborted > ABORT_MS:
            worker.send(signal.SIGKILL)

    def _ended(self, worker: Worker, code: int, now: int) -> int | None:
        """Handle the end of a worker; return the exit code if all workers must stop."""
        self._history.clear()
        if worker.stop_by is not None:
            worker.stop_by, worker.start_at = None, now
            clean = code in (EXIT_OK, -signal.SIGTERM)  # the latter ends those still starting
            if clean:
                LOG.info("worker %d: stopped", worker.number)
            else:
                LOG.warning("worker %d %s while stopping", worker.number, describe(code))
            if not clean or self._settings.instance_id is not None:
                self._removals.remove(worker.number)
            else:  # it has left the group by itself
                self._nudge()
            return None
        if self._settings.batch and code == EXIT_OK:
            worker.done = True
            LOG.info("worker %d: the batch is done", worker.number)
            return EXIT_OK if all(one.done for one in self._workers) else self._nudge()
        decided = worker.died(code, now)
        if isinstance(decided, GiveUp):
            LOG.error("worker %d %s: %s; stopping all workers", worker.number, describe(code), decided.why)
            return decided.code
        LOG.warning("worker %d %s; restarting it %s", worker.number, describe(code), soon(decided))
        if self._settings.instance_id is None or decided.delay_ms:  # a static member keeps its place across a restart
            self._removals.remove(worker.number)
        return None

    def _nudge(self) -> None:
        """Have the workers query the group at once instead of with their next heartbeats."""
        for worker in self._workers:
            worker.nudge()

    def _pause(self, now: int) -> float:
        """Return the seconds until the next scheduled action."""
        starts = [it.start_at for it in self._workers[: self._wanted] if not (it.alive or it.done)]
        kills = [worker.stop_by for worker in self._workers if worker.stop_by is not None]
        return max(min([*starts, *kills, now + 1000]) - now, 0) / 1000

    # Number of workers

    def _look(self, now: int) -> None:
        """Handle new scrapes of the workers; with `autoscale` decide on their number."""
        number, seen = self._watch.latest()
        if number == self._looks:
            return
        self._looks = number
        self._tasks = max([self._tasks or 0, *(look.tasks for look in seen.values())]) or None
        for worker in self._workers:
            look = seen.get(worker.number)
            worker.looked(look is not None and look.life == worker.life, now)
        wanted = self._workers[: self._wanted]
        looks = [seen.get(worker.number) for worker in wanted]
        working = [
            look
            for look, worker in zip(looks, wanted, strict=True)
            if look is not None and look.ready and look.life == worker.life and worker.alive
        ]
        if len(working) < self._wanted:
            self._history.clear()
        else:
            need = [look.needed for look in working]
            oldest = now - max(self._settings.autoscale_quiet, CATCHING_UP_MS) - 10_000
            self._history = [it for it in self._history if it.at >= oldest]
            self._history.append(WorkerLoad(now, sum(need), max(need), sum(look.lag for look in working)))
        if self._bounds is not None:
            self._autoscale(now, self._bounds)

    def _autoscale(self, now: int, bounds: WorkerBounds) -> None:
        within = limits(bounds, self._tasks, self._processors)
        history = self._history
        number = decide(history, now, self._wanted, self._changed, within, self._settings.autoscale_quiet)
        if number != self._wanted:
            by_load = history and within.least <= self._wanted <= within.most
            need = f"the work requires {history[-1].needed:.1f}" if by_load else "no more are useful, or fewer allowed"
            LOG.info("autoscale %s: %d workers instead of %d (%s)", bounds, number, self._wanted, need)
            refused = self._rescale(number)
            if refused:
                LOG.warning("autoscale %s: %s; it stays at %d", bounds, refused, self._wanted)

    def _asked(self, request: ControlRequest) -> str:
        """Carry out a request; return the reason if it was refused, "" otherwise."""
        if request.autoscale == "off":
            self._bounds = None
        elif request.autoscale is not None:
            self._bounds = WorkerBounds(*request.autoscale)
            LOG.info("autoscale %s, as requested", self._bounds)
            self._limits(self._bounds)
            self._autoscale(self._clock.monotonic(), self._bounds)
        if request.workers is None:
            return ""
        if self._bounds is not None:
            return (
                f"autoscale is on ({self._bounds}), so the number of workers follows the load: give it other bounds "
                "(--autoscale MIN:MAX), or switch it off with it (--autoscale off --workers N)"
            )
        number = self._useful() if request.workers == "auto" else request.workers
        if number == self._wanted:
            return ""
        if number > self._most():
            tasks = "its tasks are not known yet" if self._tasks is None else f"it has {plural(self._tasks, 'task')}"
            return (
                f"{plural(number, 'worker')} would be more than can have work: {tasks}, and this machine gives it "
                f"{plural(self._processors, 'processor')}; the maximum is {self._most()}"
            )
        LOG.info("%s instead of %d, as requested", plural(number, "worker"), self._wanted)
        return self._rescale(number)

    def _most(self) -> int:
        """Return the largest number of workers that can have tasks or standbys."""
        return max((self._tasks or 1) * (1 + self._settings.standbys), self._processors, self._wanted)

    def _rescale(self, number: int) -> str:
        """Change the number of workers; return the reason if that failed, "" otherwise.

        After a failure the workers are unchanged.
        """
        try:
            self._scale(number)
        except (ConfigError, OSError) as error:
            return f"{number} workers cannot be started: {error}"
        return ""

    def _answer(self, refused: str) -> ControlResponse:
        _, seen = self._watch.latest()
        places: list[WorkerStatus] = []
        for worker in self._workers:
            look = seen.get(worker.number)
            ready = look is not None and look.ready and look.life == worker.life
            if worker.stop_by is not None:
                state = "stopping"
            elif worker.number >= self._wanted:
                continue
            else:
                dead = not worker.alive and worker.quick_deaths > 0
                state = "waiting" if dead else "ready" if ready and worker.alive else "starting"
            pid = 0 if worker.process is None else worker.process.pid
            places.append(WorkerStatus(worker.number, pid, state, worker.restarts))
        return ControlResponse(os.getpid(), self._wanted, places, self._bounds, self._tasks, self._processors, refused)

    def _scraped(self) -> list[ScrapeTarget]:
        now, limit = self._clock.monotonic(), self._settings.max_poll_interval
        return [
            ScrapeTarget(it.number, it.url, it.restarts, it.life, it.number < self._wanted, it.hangs(limit, now))
            for it in self._workers
        ]

    # Stopping

    def _stop(self, signals: StopSignals, code: int) -> int:
        """Stop all workers; return the exit code of the supervisor."""
        asked = signals.asked
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        deadline = self._clock.monotonic() + self._settings.stop_timeout + LAST_WAIT_MS
        while any(worker.alive for worker in self._workers):
            for worker in self._workers:
                ended = worker.reap()
                if ended and ended != -signal.SIGTERM:  # SIGTERM ends only those still starting
                    LOG.warning("worker %d %s while stopping", worker.number, describe(ended))
                    code = code or (ended if ended > 0 else EXIT_INTERRUPTED)
                    if self._settings.instance_id is None:
                        self._removals.remove(worker.number)
            now = self._clock.monotonic()
            if signals.asked > max(asked, 1):
                asked, code = signals.asked, EXIT_INTERRUPTED
                deadline = min(deadline, now + LAST_WAIT_MS)
                for worker in self._workers:
                    worker.send(signal.SIGTERM)
            if now >= deadline:
                for worker in self._workers:
                    worker.send(signal.SIGKILL)
            for waiting in self._control.requests():
                waiting.answer.set_result(self._answer("the application is being stopped"))
            signals.wait(0.1)
        return code

    def _end(self) -> None:
        """Stop the workers that still run, cleanly if possible, and release their resources."""
        deadline = self._clock.monotonic() + self._settings.stop_timeout + LAST_WAIT_MS
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        while any(worker.alive for worker in self._workers) and self._clock.monotonic() < deadline:
            for worker in self._workers:
                worker.reap()
            self._clock.sleep(50)
        for worker in self._workers:
            worker.send(signal.SIGKILL)
            worker.web.close()
