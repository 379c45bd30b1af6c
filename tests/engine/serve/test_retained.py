"""Tests of the metrics of workers that start and stop: one valid set, whose counters never decrease."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tidemill.engine.serve.health import Health
from tidemill.engine.serve.metrics import StatsCollector, registry_of
from tidemill.engine.serve.retained import RetainedMetrics
from tidemill.engine.serve.stats import Stats
from tidemill.engine.serve.web import WebServer, listen, pages
from tidemill.engine.serve.workers import ScrapeTarget, WorkersCollector

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def text(records: int, commits: int = 0, lag: int = 0) -> str:
    """Return the metrics of a worker that has processed and committed this much."""
    stats = Stats()
    stats.records_in = {"0_0": records}
    stats.lag = {("views", 0): lag}
    stats.assigned(1)
    for _ in range(commits):
        stats.committed(30, [])
    collector = StatsCollector(stats, ("views", "1.2", "exactly_once"), lambda: 10_000)
    return generate_latest(registry_of(collector)).decode()


def figures(metrics: Sequence[Metric]) -> Figures:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for metric in metrics for sample in metric.samples
    }


def worker(name: str, number: int, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset({**labels, "worker": str(number)}.items())


def test_metrics_are_what_they_were_with_the_worker_as_a_label() -> None:
    retained = RetainedMetrics()
    retained.note(0, 1, text(5, commits=2))
    retained.note(1, 1, text(7))
    once = list(text_string_to_metric_families(text(5)))
    whole = list(retained.metrics())
    assert {(it.name, it.type, it.documentation) for it in whole} == {
        (it.name, it.type, it.documentation) for it in once if it.samples
    }
    found = figures(whole)
    assert len(found) == 2 * len(figures(once))
    assert found[worker("tidemill_records_in_total", 0, task="0_0")] == 5
    assert found[worker("tidemill_records_in_total", 1, task="0_0")] == 7
    assert found[worker("tidemill_commit_seconds_count", 0)] == 2


def test_what_former_lives_counted_stays() -> None:
    retained = RetainedMetrics()
    retained.note(0, 1, text(100, commits=3, lag=9))
    retained.silent(0)
    gone = figures(list(retained.metrics()))
    assert gone[worker("tidemill_records_in_total", 0, task="0_0")] == 100
    assert worker("tidemill_lag_records", 0, topic="views", partition="0") not in gone, "a level is that of now"
    retained.note(0, 2, text(4, commits=1, lag=2))
    again = figures(list(retained.metrics()))
    assert again[worker("tidemill_records_in_total", 0, task="0_0")] == 104
    assert again[worker("tidemill_commit_seconds_bucket", 0, le="0.05")] == 4
    assert again[worker("tidemill_commit_seconds_sum", 0)] == pytest.approx(0.12)
    assert again[worker("tidemill_lag_records", 0, topic="views", partition="0")] == 2
    retained.note(0, 1, text(101))
    assert figures(list(retained.metrics())) == again, "a late answer of a former life"


Event = tuple[int, str, int]
"""Worker, what happens to it, and how much."""


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["works", "dies", "is silent"]), st.integers(0, 50)), max_size=30
    )
)
def test_counters_never_go_down(events: list[Event]) -> None:
    retained = RetainedMetrics()
    lives, counted, total = [1, 1, 1], [0, 0, 0], [0, 0, 0]
    before: Figures = {}
    for number, what, amount in events:
        if what == "dies":
            lives[number] += 1
            counted[number] = 0
        elif what == "is silent":
            retained.silent(number)
        else:
            counted[number] += amount
            total[number] += amount
            retained.note(
                number,
                lives[number],
                f'# TYPE n_total counter\nn_total{{task="0_0"}} {counted[number]}\n# TYPE level gauge\nlevel 1\n',
            )
        now = figures(list(retained.metrics()))
        for series, value in before.items():
            assert series[0] != "n_total" or now[series] >= value
        before = now
    for number in range(3):
        assert before.get(worker("n_total", number, task="0_0"), 0) == total[number]


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A worker that answers."""
    stats = Stats()
    stats.records_in = {"0_0": 5}
    stats.lag = {("views", 0): 3, ("views", 1): 4}
    stats.assigned(6)
    registry = registry_of(StatsCollector(stats, ("views", "1.2", "exactly_once"), lambda: 10_000))
    web = WebServer(listen("127.0.0.1", 0), pages(registry, lambda: Health(True, ""), lambda: Health(True, "")))
    yield web
    web.close()


def exposed(collector: Collector) -> tuple[str, str]:
    """As Prometheus' text format and as OpenMetrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry).decode(), generate_openmetrics(registry).decode()


def test_what_a_supervisor_exposes_is_valid_in_both_formats(web: WebServer) -> None:
    workers = [
        ScrapeTarget(0, web.url, 0, 1),
        ScrapeTarget(1, None, 3, 2),
        ScrapeTarget(2, web.url, 0, 1, wanted=False),
    ]
    collector = WorkersCollector(lambda: workers)
    plain, openmetrics = exposed(collector)
    strict = list(openmetrics_families(openmetrics))  # raises on metrics that are out of order, duplicated or misnamed
    found = figures(list(text_string_to_metric_families(plain)))
    assert figures(strict) == {**figures(strict), **{k: v for k, v in found.items() if k[0].startswith("tidemill_")}}
    assert plain.count("# TYPE tidemill_records_in_total counter") == 1
    assert found[worker("tidemill_worker_up", 0)] == 1
    assert found[worker("tidemill_worker_up", 1)] == 0
    assert worker("tidemill_worker_up", 2) not in found, "a worker that was scaled down is not reported as down"
    assert found[worker("tidemill_records_in_total", 2, task="0_0")] == 5
    assert found["tidemill_wanted_workers", frozenset()] == 2
    looks = collector.look()
    assert set(looks) == {0, 2}
    assert (looks[0].ready, looks[0].tasks, looks[0].needed, looks[0].life) == (True, 6, 1.0, 1)
    assert looks[0].lag == 7, "the sum over its partitions"
