"""The figures of several workers on one endpoint.

The supervisor asks each worker for its metrics and health when it is asked itself, adds the label `worker` to every
sample and answers with all of them. A worker that does not answer in time is shown as down; the others still count.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .health import Health
from .metrics import family
from .web import Page, pages

__all__ = ["Scraped", "WorkersCollector", "worker_pages"]

TIMEOUT: Final = 2.0
"""Seconds a worker has for an answer."""

DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine without the proxy that the environment may name."""


@dataclass(frozen=True)
class Scraped:
    """A worker as the supervisor knows it."""

    number: int
    url: str | None
    """Where it answers; None while there is no process."""
    restarts: int


@dataclass(frozen=True)
class Fetched:
    """What a worker answered; status 0 when it did not."""

    worker: Scraped
    status: int
    body: str


def fetch(workers: list[Scraped], path: str) -> list[Fetched]:
    """Asks all workers at once."""

    def ask(worker: Scraped) -> Fetched:
        if worker.url is None:
            return Fetched(worker, 0, "it is not running")
        try:
            with DIRECT.open(worker.url + path, timeout=TIMEOUT) as answer:
                return Fetched(worker, answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Fetched(worker, error.code, error.read().decode())
        except (OSError, HTTPException):  # refused, reset, too slow, or gone in the middle of its answer
            return Fetched(worker, 0, "it does not answer")

    if not workers:
        return []
    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(ask, workers))


class WorkersCollector(Collector):
    """The metrics of all workers, each sample with its worker."""

    def __init__(self, workers: Callable[[], list[Scraped]]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        fetched = fetch(self._workers(), "/metrics")
        yield family("tidemill_worker_up", [((str(one.worker.number),), int(one.status == 200)) for one in fetched])
        yield family(
            "tidemill_worker_restarts_total", [((str(one.worker.number),), one.worker.restarts) for one in fetched]
        )
        yield from merged({str(one.worker.number): one.body for one in fetched if one.status == 200})


def merged(texts: Mapping[str, str]) -> Iterable[Metric]:
    """One set of metrics from several, each sample with the label `worker`."""
    found: dict[str, Metric] = {}
    for worker, text in texts.items():
        for metric in text_string_to_metric_families(text):
            whole = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                whole.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
    return found.values()


def worker_pages(workers: Callable[[], list[Scraped]]) -> Mapping[str, Page]:
    """The pages of a supervisor."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkersCollector(workers))

    def live() -> Health:
        """A worker that has died is started again; one that hangs is what nobody mends."""
        return summed([one for one in fetch(workers(), "/health/live") if one.status == 503], "all workers are alive")

    def ready() -> Health:
        return summed([one for one in fetch(workers(), "/health/ready") if one.status != 200], "all workers are ready")

    return pages(registry, live, ready)


def summed(unwell: list[Fetched], well: str) -> Health:
    """One health of several."""
    reasons = [f"worker {one.worker.number}: {one.body.strip()}" for one in unwell]
    return Health(not reasons, "; ".join(reasons) or well)
