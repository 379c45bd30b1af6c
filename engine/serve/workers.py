"""The figures of several workers on one endpoint.

The supervisor asks each worker for its metrics and health when it is asked itself, adds the label `worker` to every
sample and answers with all of them. A worker that does not answer in time is shown as down; the others still count. It
also asks now and then for itself: what workers had counted must be known when they die, and how loaded they are decides
how many there should be.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ..threads import Thread
from .health import Health
from .metrics import MetricName, family
from .retained import Retained
from .web import Page, pages

__all__ = ["Look", "Scraped", "WorkersCollector", "Watch", "worker_pages"]

TIMEOUT: Final = 2.0
"""Seconds a worker has for its figures."""
HEALTH_TIMEOUT: Final = 0.8
"""Seconds a worker has for saying how it is: monitors wait for a second, by default."""

DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine without the proxy that the environment may name."""


@dataclass(frozen=True)
class Scraped:
    """A worker as the supervisor knows it."""

    number: int
    url: str | None
    """Where it answers; None while there is no process."""
    restarts: int
    life: int = 0
    """Goes up with each process that takes the place."""
    wanted: bool = True
    """False for one that was scaled away."""
    hangs: bool = False
    """True for one that has given no answer for too long."""


@dataclass(frozen=True)
class Fetched:
    """What a worker answered; status 0 when it did not."""

    worker: Scraped
    status: int
    body: str


def fetch(workers: Sequence[Scraped], path: str, timeout: float = TIMEOUT) -> list[Fetched]:
    """Asks all workers at once."""

    def ask(worker: Scraped) -> Fetched:
        if worker.url is None:
            return Fetched(worker, 0, "it is not running")
        try:
            with DIRECT.open(worker.url + path, timeout=timeout) as answer:
                return Fetched(worker, answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Fetched(worker, error.code, error.read().decode())
        except (OSError, HTTPException):  # refused, reset, too slow, or gone in the middle of its answer
            return Fetched(worker, 0, "it does not answer")

    if not workers:
        return []
    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(ask, workers))


@dataclass(frozen=True)
class Look:
    """How a worker is."""

    life: int
    ready: bool
    """A member of the group, with all its tasks running."""
    needed: float
    """How many workers its work asks for."""
    tasks: int
    """Tasks of the whole application; 0 when it does not know."""


class WorkersCollector(Collector):
    """The metrics of all workers, each sample with its worker. May be asked by several threads."""

    def __init__(self, workers: Callable[[], Sequence[Scraped]]) -> None:
        self._workers = workers
        self._retained = Retained()
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            fetched = self._fetch()
            wanted = [one for one in fetched if one.worker.wanted]
            found = [
                family("tidemill_worker_up", [((str(one.worker.number),), int(one.status == 200)) for one in wanted]),
                family(
                    "tidemill_worker_restarts_total",
                    [((str(one.worker.number),), one.worker.restarts) for one in fetched],
                ),
                family("tidemill_wanted_workers", [((), len(wanted))]),
                *self._retained.metrics(),
            ]
        yield from found

    def look(self) -> dict[int, Look]:
        """How the workers that answer are."""
        with self._lock:
            return {one.worker.number: self._look(one.worker) for one in self._fetch() if one.status == 200}

    def _look(self, worker: Scraped) -> Look:
        def level(name: MetricName, **labels: str) -> float:
            return self._retained.level(worker.number, name, labels) or 0.0

        ready = level("tidemill_joined") == 1 and level("tidemill_tasks", state="restoring") == 0
        return Look(worker.life, ready, level("tidemill_needed_workers"), int(level("tidemill_application_tasks")))

    def _fetch(self) -> list[Fetched]:
        fetched = fetch(self._workers(), "/metrics")
        for one in fetched:
            if one.status == 200:
                self._retained.heard(one.worker.number, one.worker.life, one.body)
            else:
                self._retained.silent(one.worker.number)
        return fetched


class Watch:
    """Looks at the workers now and then, in a thread of its own."""

    def __init__(self, collector: WorkersCollector, interval: float) -> None:
        """Every `interval` seconds; begins at once."""
        self._collector = collector
        self._interval = interval
        self._stopped = threading.Event()
        self._latest: tuple[int, Mapping[int, Look]] = (0, {})
        self._thread = Thread("tidemill-watch", self._run)
        self._thread.start()

    def latest(self) -> tuple[int, Mapping[int, Look]]:
        """What was last seen, by worker, with the number of the look. Raises what made the thread fail."""
        self._thread.check()
        return self._latest

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._latest = (self._latest[0] + 1, self._collector.look())

    def close(self) -> None:
        """Looks no more."""
        self._stopped.set()
        self._thread.join()


def worker_pages(workers: Callable[[], Sequence[Scraped]], collector: WorkersCollector) -> Mapping[str, Page]:
    """The pages of a supervisor."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    def asked(path: str) -> list[Fetched]:
        return fetch([worker for worker in workers() if worker.wanted], path, HEALTH_TIMEOUT)

    def live() -> Health:
        """A worker that has died is started again, and so is one that hangs, when it could be ended."""
        unwell = [one for one in asked("/health/live") if one.status == 503 or one.worker.hangs]
        return summed(unwell, "all workers are alive")

    def ready() -> Health:
        return summed([one for one in asked("/health/ready") if one.status != 200], "all workers are ready")

    return pages(registry, live, ready)


def summed(unwell: list[Fetched], well: str) -> Health:
    """One health of several."""
    reasons = [f"worker {one.worker.number}: {one.body.strip()}" for one in unwell]
    return Health(not reasons, "; ".join(reasons) or well)
