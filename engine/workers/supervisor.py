"""Several processes of one application on one machine: `--workers N`.

The supervisor starts the workers (worker.py), starts one again when it dies and has it taken out of the group meanwhile
(removals.py), changes their number when it is asked to (control.py) or by their load (autoscale.py), passes a stop
on, and ends with the right exit code. It joins no group and opens no store. Workers notice when the supervisor is gone,
and stop.

    STARTING -> RUNNING --worker dies--> verdict: start again after a while, or stop all with this exit code
                 |  ^---fewer wanted--> the highest numbers stop, the others go on
                 '------signal--------> STOPPING --all gone, or too late--> exit
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
from ..config.worker_bounds import Bounds
from ..errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError
from ..plan.describe import counted
from ..serve.web import WebServer, listen
from ..serve.workers import Scraped, Watch, WorkersCollector, worker_pages
from ..signals import StopSignals
from .autoscale import Observed, decide, limits
from .control import Answer, Control, Place, Request
from .removals import Departures
from .worker import GiveUp, Restart, Worker, describe

__all__ = ["Supervisor", "own_command"]

LOG: Final = logging.getLogger("tidemill.supervisor")

LAST_WAIT_MS: Final = 2_000
"""How long workers have to vanish after a second signal, and after `stop_timeout`, before they are killed."""
ABORT_MS: Final = 5_000
"""How long a worker that hangs has to write its stacks."""
LOOK_SECONDS: Final = 2.0
"""How often the workers are looked at."""


def soon(restart: Restart) -> str:
    """When a restart is due, in words."""
    return f"in {format_duration(restart.delay_ms)}" if restart.delay_ms else "now"


def own_command() -> list[str]:
    """The command this process was started with."""
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
        """`command` starts one worker; it is told its number by the environment.

        `processors` are those that this process may use, `tasks` those of the application, if that is known yet.
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
        """By number. Those from `_wanted` on were scaled away: they stop, or are gone."""
        self._wanted = 0
        self._changed = 0
        self._history: list[Observed] = []
        """What the load was like since last not all workers were at work."""
        self._looks = 0

    def run(self, signals: StopSignals, announce: Callable[[str], None]) -> int:
        """Runs until stopped; gives the exit code. `announce` is told where the figures of all workers are served."""
        settings = self._settings
        with ExitStack() as closing:
            closing.callback(self._end)
            self._control = Control(settings, signals.wake)
            closing.callback(self._control.close)
            self._departures = Departures(settings, signals.wake)
            closing.callback(self._departures.close)
            self._collector = WorkersCollector(self._scraped)
            if settings.web is not None:
                pages = worker_pages(self._scraped, self._collector)
                web = WebServer(listen(settings.web_host, settings.web), pages)
                closing.callback(web.close)
                announce(web.url)
            self._watch = Watch(self._collector, LOOK_SECONDS)
            closing.callback(self._watch.close)
            self._scale(self._first_number())
            return self._stop(signals, self._run(signals))

    def _first_number(self) -> int:
        """How many workers to begin with."""
        asked = self._useful() if self._settings.workers == "auto" else self._settings.workers
        if self._bounds is None:
            return asked
        within = self._limits(self._bounds)
        return min(max(asked, within.least), within.most)

    def _useful(self) -> int:
        """As many workers as are of use on this machine."""
        return min(self._processors, max(1, self._tasks or self._processors))

    def _limits(self, bounds: Bounds) -> Bounds:
        """New bounds as far as they are of use; says so where they are not."""
        within = limits(bounds, self._tasks, self._processors)
        if within != bounds:
            tasks = "" if self._tasks is None else f", {counted(self._tasks, 'task')}"
            use = f"{counted(self._processors, 'processor')}{tasks}"
            LOG.info("autoscale %s: no more than %d are of use here (%s)", bounds, within.most, use)
        return within

    def _scale(self, number: int) -> None:
        """From now on so many workers are wanted: those above stop, and new ones are started at the next turn."""
        now = self._clock.monotonic()
        self._workers += tuple(Worker(n) for n in range(len(self._workers), number))
        for worker in self._workers[number : self._wanted]:
            if worker.alive:
                worker.stop_by = now + self._settings.stop_timeout + LAST_WAIT_MS
                worker.send(signal.SIGTERM)
                LOG.info("worker %d: stopping; its tasks go to the others", worker.number)
        for worker in self._workers[self._wanted : number]:
            worker.start_at = now
            worker.quick_deaths = 0
        self._wanted = number
        self._changed = now
        self._history.clear()

    def _run(self, signals: StopSignals) -> int:
        """Keeps the workers running; gives the exit code when all are to be stopped."""
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
                elif worker.number < self._wanted and not worker.alive and worker.start_at <= now:
                    ended = self._start(worker, now)
                    if ended is not None:
                        return ended
            if self._departures.done():
                self._nudge()
            self._look(now)
            for waiting in self._control.requests():
                waiting.answer.set_result(self._answer(self._asked(waiting.request)))
            signals.wait(self._pause(self._clock.monotonic()))
        return EXIT_OK

    def _start(self, worker: Worker, now: int) -> int | None:
        """Starts a worker; gives the exit code of the whole when that has failed too often."""
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
            LOG.warning("worker %d %s; trying again %s", worker.number, why, soon(decided))
            return None
        LOG.info("worker %d: started (pid %d)", worker.number, pid)
        return None

    def _abort(self, worker: Worker, now: int) -> None:
        """Ends a worker that hangs: its interpreter writes its stacks to standard error as it dies."""
        if worker.aborted is None:
            worker.aborted = now
            LOG.error(
                "worker %d hangs: no answer for %s, and max_poll_interval is %s; ending it, its stacks follow",
                worker.number,
                format_duration(now - worker.heard),
                format_duration(self._settings.max_poll_interval),
            )
            worker.send(signal.SIGABRT)
        elif now - worker.aborted > ABORT_MS:
            worker.send(signal.SIGKILL)

    def _ended(self, worker: Worker, code: int, now: int) -> int | None:
        """A worker has ended; gives the exit code of the whole when that is its end too."""
        self._history.clear()
        if worker.stop_by is not None:
            worker.stop_by, worker.start_at = None, now
            clean = code in (EXIT_OK, -signal.SIGTERM)  # of that die those that have not begun yet
            if clean:
                LOG.info("worker %d: has stopped", worker.number)
            else:
                LOG.warning("worker %d %s while it stopped", worker.number, describe(code))
            if not clean or self._settings.instance_id is not None:
                self._departures.remove(worker.number)
            else:  # it has left by itself
                self._nudge()
            return None
        decided = worker.died(code, now)
        if isinstance(decided, GiveUp):
            LOG.error("worker %d %s: %s; stopping all workers", worker.number, describe(code), decided.why)
            return decided.code
        LOG.warning("worker %d %s; starting it again %s", worker.number, describe(code), soon(decided))
        if self._settings.instance_id is None or decided.delay_ms:  # a static member's place is kept for its restart
            self._departures.remove(worker.number)
        return None

    def _nudge(self) -> None:
        """Has the workers that are there learn at once that one is gone, and not with their next heartbeats."""
        for worker in self._workers:
            worker.nudge()

    def _pause(self, now: int) -> float:
        """Seconds until something is to be done, if nothing happens before."""
        starts = [worker.start_at for worker in self._workers[: self._wanted] if not worker.alive]
        kills = [worker.stop_by for worker in self._workers if worker.stop_by is not None]
        return max(min([*starts, *kills, now + 1000]) - now, 0) / 1000

    # How many

    def _look(self, now: int) -> None:
        """Takes in what was seen of the workers; with `autoscale` decides on their number."""
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
            oldest = now - self._settings.autoscale_quiet - 10_000
            self._history = [it for it in self._history if it.at >= oldest]
            self._history.append(Observed(now, sum(need), max(need)))
        if self._bounds is not None:
            self._autoscale(now, self._bounds)

    def _autoscale(self, now: int, bounds: Bounds) -> None:
        within = limits(bounds, self._tasks, self._processors)
        history = self._history
        number = decide(history, now, self._wanted, self._changed, within, self._settings.autoscale_quiet)
        if number != self._wanted:
            by_load = history and within.least <= self._wanted <= within.most
            need = f"the work asks for {history[-1].needed:.1f}" if by_load else "no more are of use, or fewer allowed"
            LOG.info("autoscale %s: %d workers in place of %d (%s)", bounds, number, self._wanted, need)
            refused = self._rescale(number)
            if refused:
                LOG.warning("autoscale %s: %s; it stays at %d", bounds, refused, self._wanted)

    def _asked(self, request: Request) -> str:
        """Does what is asked for; gives why it was not done, "" when it was."""
        if request.autoscale == "off":
            self._bounds = None
        elif request.autoscale is not None:
            self._bounds = Bounds(*request.autoscale)
            LOG.info("autoscale %s, as asked for", self._bounds)
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
            tasks = "its tasks are not known yet" if self._tasks is None else f"it has {counted(self._tasks, 'task')}"
            return (
                f"{counted(number, 'worker')} would be more than can have work: {tasks}, and this machine gives it "
                f"{counted(self._processors, 'processor')}; {self._most()} are the most"
            )
        LOG.info("%s in place of %d, as asked for", counted(number, "worker"), self._wanted)
        return self._rescale(number)

    def _most(self) -> int:
        """More workers than this are of no use, whatever is asked for: each copy of a task is in one of them."""
        return max((self._tasks or 1) * (1 + self._settings.standbys), self._processors, self._wanted)

    def _rescale(self, number: int) -> str:
        """Changes the number of workers; gives why it was not done, "" when it was. If not, all stay as they are."""
        try:
            self._scale(number)
        except (ConfigError, OSError) as error:
            return f"{number} workers cannot be started: {error}"
        return ""

    def _answer(self, refused: str) -> Answer:
        _, seen = self._watch.latest()
        places: list[Place] = []
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
            places.append(Place(worker.number, pid, state, worker.restarts))
        return Answer(os.getpid(), self._wanted, places, self._bounds, self._tasks, self._processors, refused)

    def _scraped(self) -> list[Scraped]:
        now, limit = self._clock.monotonic(), self._settings.max_poll_interval
        return [
            Scraped(it.number, it.url, it.restarts, it.life, it.number < self._wanted, it.hangs(limit, now))
            for it in self._workers
        ]

    # The end

    def _stop(self, signals: StopSignals, code: int) -> int:
        """Stops all workers; gives the exit code of the whole."""
        asked = signals.asked
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        deadline = self._clock.monotonic() + self._settings.stop_timeout + LAST_WAIT_MS
        while any(worker.alive for worker in self._workers):
            for worker in self._workers:
                ended = worker.reap()
                if ended and ended != -signal.SIGTERM:  # of that die only those that have not begun yet
                    LOG.warning("worker %d %s while it stopped", worker.number, describe(ended))
                    code = code or (ended if ended > 0 else EXIT_INTERRUPTED)
                    if self._settings.instance_id is None:
                        self._departures.remove(worker.number)
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
        """Nothing is left of the workers, however this ends. Those that still run have time for a clean stop."""
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
