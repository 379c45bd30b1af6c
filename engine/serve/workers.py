"""The metrics of several workers on one endpoint.

When it is asked, the supervisor asks each worker for its metrics and health, adds the label `worker` to every sample
and returns all of them. A worker that does not answer in time is shown as down; the others still count. The supervisor
also polls the workers for its own use: the counters must be known when a worker dies, and the load determines the
number of workers.
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
from .retained import RetainedMetrics
from .web import Page, pages

__all__ = ["ScrapeTarget", "WorkerHealth", "WorkerMonitor", "WorkersCollector", "worker_pages"]

TIMEOUT: Final = 2.0
"""Seconds that a worker has to return its metrics."""
HEALTH_TIMEOUT: Final = 0.8
"""Seconds that a worker has to return its health: monitors wait for a second by default."""

DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens local addresses without the proxy that the environment may configure."""


@dataclass(frozen=True)
class ScrapeTarget:
    """A worker as the supervisor knows it."""

    number: int
    url: str | None
    """Its address; None while it has no process."""
    restarts: int
    life: int = 0
    """Increases with each process that runs as this worker."""
    wanted: bool = True
    """False for a worker that was scaled away."""
    hangs: bool = False
    """True for a worker that has not answered for too long."""


@dataclass(frozen=True)
class ScrapeResult:
    """The response of a worker; status 0 if there was none."""

    worker: ScrapeTarget
    status: int
    body: str


def scrape(workers: Sequence[ScrapeTarget], path: str, timeout: float = TIMEOUT) -> list[ScrapeResult]:
    """Ask all workers at once."""

    def ask(worker: ScrapeTarget) -> ScrapeResult:
        if worker.url is None:
            return ScrapeResult(worker, 0, "it is not running")
        try:
            with DIRECT.open(worker.url + path, timeout=timeout) as answer:
                return ScrapeResult(worker, answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return ScrapeResult(worker, error.code, error.read().decode())
        except (OSError, HTTPException):  # refused, reset, too slow, or closed in the middle of the response
            return ScrapeResult(worker, 0, "it does not answer")

    if not workers:
        return []
    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(ask, workers))


@dataclass(frozen=True)
class WorkerHealth:
    """The state of a worker."""

    life: int
    ready: bool
    """True if it is a member of the group, with all its tasks running."""
    needed: float
    """The number of workers that its work requires."""
    lag: float
    """Records that wait in its partitions."""
    tasks: int
    """Tasks of the whole application; 0 if it does not know."""


class WorkersCollector(Collector):
    """The metrics of all workers, each sample with its worker. Thread-safe."""

    def __init__(self, workers: Callable[[], Sequence[ScrapeTarget]]) -> None:
        self._workers = workers
        self._retained = RetainedMetrics()
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

    def look(self) -> dict[int, WorkerHealth]:
        """Return the state of each worker that answers."""
        with self._lock:
            return {one.worker.number: self._look(one.worker) for one in self._fetch() if one.status == 200}

    def _look(self, worker: ScrapeTarget) -> WorkerHealth:
        def level(name: MetricName, **labels: str) -> float:
            return self._retained.level(worker.number, name, labels)

        ready = level("tidemill_joined") == 1 and level("tidemill_tasks", state="restoring") == 0
        return WorkerHealth(
            worker.life,
            ready,
            level("tidemill_needed_workers"),
            level("tidemill_lag_records"),
            int(level("tidemill_application_tasks")),
        )

    def _fetch(self) -> list[ScrapeResult]:
        fetched = scrape(self._workers(), "/metrics")
        for one in fetched:
            if one.status == 200:
                self._retained.note(one.worker.number, one.worker.life, one.body)
            else:
                self._retained.silent(one.worker.number)
        return fetched


class WorkerMonitor:
    """Polls the workers at intervals, in a separate thread."""

    def __init__(self, collector: WorkersCollector, interval: float) -> None:
        """Start polling every `interval` seconds, at once."""
        self._collector = collector
        self._interval = interval
        self._stopped = threading.Event()
        self._latest: tuple[int, Mapping[int, WorkerHealth]] = (0, {})
        self._thread = Thread("tidemill-watch", self._run)
        self._thread.start()

    def latest(self) -> tuple[int, Mapping[int, WorkerHealth]]:
        """Return the latest state by worker, with the number of the poll.

        Raises the exception with which the thread failed.
        """
        self._thread.check()
        return self._latest

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._latest = (self._latest[0] + 1, self._collector.look())

    def close(self) -> None:
        """Stop polling."""
        self._stopped.set()
        self._thread.join()


def worker_pages(workers: Callable[[], Sequence[ScrapeTarget]], collector: WorkersCollector) -> Mapping[str, Page]:
    """Return the pages of a supervisor."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    def asked(path: str) -> list[ScrapeResult]:
        return scrape([worker for worker in workers() if worker.wanted], path, HEALTH_TIMEOUT)

    def live() -> Health:
        """Return the health of workers that hang; a dead worker is restarted anyway."""
        unwell = [one for one in asked("/health/live") if one.status == 503 or one.worker.hangs]
        return combined_health(unwell, "all workers are alive")

    def ready() -> Health:
        return combined_health([one for one in asked("/health/ready") if one.status != 200], "all workers are ready")

    return pages(registry, live, ready)


def combined_health(unwell: list[ScrapeResult], well: str) -> Health:
    """Return one health for several workers."""
    reasons = [f"worker {one.worker.number}: {one.body.strip()}" for one in unwell]
    return Health(not reasons, "; ".join(reasons) or well)
