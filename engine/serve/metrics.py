"""The metrics of a process, in the Prometheus data model.

`MetricName` is the complete list of names and `CATALOGUE` says what each means; nothing else is exported. They are a
stable interface: dashboards and alerts are built on them. The figures come from `Stats`, read at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .load import load_of
from .stats import Histogram, Stats

__all__ = ["CATALOGUE", "Described", "MetricName", "StatsCollector", "family", "registry_of"]

MetricName: TypeAlias = Literal[
    "tidemill_info",
    "tidemill_records_in_total",
    "tidemill_records_out_total",
    "tidemill_records_dropped_total",
    "tidemill_lookup_misses_total",
    "tidemill_changes_total",
    "tidemill_lag_records",
    "tidemill_table_lag_records",
    "tidemill_event_time_lag_seconds",
    "tidemill_commit_seconds",
    "tidemill_commits_aborted_total",
    "tidemill_joined",
    "tidemill_tasks",
    "tidemill_rebalances_total",
    "tidemill_losses_total",
    "tidemill_restore_records_total",
    "tidemill_restore_remaining_records",
    "tidemill_copy_lag_records",
    "tidemill_state_bytes",
    "tidemill_dirty_bytes",
    "tidemill_buffer_bytes",
    "tidemill_poll_seconds_total",
    "tidemill_process_seconds_total",
    "tidemill_turn_age_seconds",
    "tidemill_application_tasks",
    "tidemill_busy_ratio",
    "tidemill_needed_workers",
    "tidemill_worker_up",
    "tidemill_worker_restarts_total",
    "tidemill_wanted_workers",
]

Type: TypeAlias = Literal["counter", "gauge", "histogram"]
Sample: TypeAlias = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class Described:
    """What a metric means."""

    type: Type
    labels: tuple[str, ...]
    meaning: str


CATALOGUE: Final[Mapping[MetricName, Described]] = {
    "tidemill_info": Described("gauge", ("app", "version", "guarantee"), "Always 1; the labels say what runs."),
    "tidemill_records_in_total": Described("counter", ("task",), "Records processed."),
    "tidemill_records_out_total": Described(
        "counter", (), "Records written to the program's topics and to repartition topics."
    ),
    "tidemill_records_dropped_total": Described(
        "counter", ("step", "reason"), "Records that a step dropped, such as those without a key or too late."
    ),
    "tidemill_lookup_misses_total": Described(
        "counter",
        ("step",),
        "Records that a join with a table, a global table or by foreign key looked up, and found no row for.",
    ),
    "tidemill_changes_total": Described("counter", (), "Changes of state that were committed."),
    "tidemill_lag_records": Described(
        "gauge", ("topic", "partition"), "Records between the position and the end of an input partition."
    ),
    "tidemill_table_lag_records": Described(
        "gauge", ("table",), "Records of a global table that this process has still to read."
    ),
    "tidemill_event_time_lag_seconds": Described(
        "gauge", ("task",), "Wall clock less the newest event time processed."
    ),
    "tidemill_commit_seconds": Described(
        "histogram", (), "How long a commit took, the writing of the stores included; its count is that of commits."
    ),
    "tidemill_commits_aborted_total": Described("counter", (), "Commits that failed; their work was undone."),
    "tidemill_joined": Described("gauge", (), "1 while the process is a member of the group, else 0."),
    "tidemill_tasks": Described("gauge", ("state",), "Tasks of this process: `restoring` or `running`."),
    "tidemill_rebalances_total": Described("counter", (), "Times that tasks were assigned anew."),
    "tidemill_losses_total": Described("counter", (), "Times that the process lost its tasks to others."),
    "tidemill_restore_records_total": Described("counter", (), "Changelog records replayed for tasks before they ran."),
    "tidemill_restore_remaining_records": Described(
        "gauge", (), "Changelog records still to read before all tasks of this process run."
    ),
    "tidemill_copy_lag_records": Described(
        "gauge",
        ("task",),
        "Changelog records that copies in this process are behind: those of standbys and of tasks that move here.",
    ),
    "tidemill_state_bytes": Described("gauge", ("task",), "Size of a task's stores."),
    "tidemill_dirty_bytes": Described("gauge", (), "Decoded state that waits for a commit."),
    "tidemill_buffer_bytes": Described("gauge", (), "Records that were fetched and wait to be processed."),
    "tidemill_poll_seconds_total": Described(
        "counter", (), "Time the processing thread spent waiting for records and taking them."
    ),
    "tidemill_process_seconds_total": Described(
        "counter",
        (),
        "Time it spent in steps. Its share of both is how busy the process is; near 1 it needs more workers.",
    ),
    "tidemill_turn_age_seconds": Described(
        "gauge", (), "Time since the processing thread last finished a turn; it grows while a call hangs."
    ),
    "tidemill_application_tasks": Described(
        "gauge", (), "Tasks of the whole application: more processes than these have nothing to do."
    ),
    "tidemill_busy_ratio": Described(
        "gauge", (), "Share of the last 15 s that the processing thread spent in steps rather than waiting for records."
    ),
    "tidemill_needed_workers": Described(
        "gauge",
        (),
        "How many processes the work of this one asks for, by lag, its growth and how busy it is; 1 until that is "
        "known. The sum over all processes of an application, rounded up, is how many it should have.",
    ),
    "tidemill_worker_up": Described(
        "gauge", ("worker",), "With several workers: 1 for one that answers its supervisor, else 0."
    ),
    "tidemill_worker_restarts_total": Described(
        "counter", ("worker",), "With several workers: times that the supervisor started one again."
    ),
    "tidemill_wanted_workers": Described("gauge", (), "With several workers: how many there are to be now."),
}


def samples(stats: Stats, now: int) -> Iterator[tuple[MetricName, list[Sample]]]:
    """The figures of all metrics that are plain numbers, each with its label values."""
    yield "tidemill_records_in_total", one_label(stats.records_in)
    yield "tidemill_records_out_total", [((), stats.records_out)]
    yield "tidemill_records_dropped_total", list(stats.dropped.items())
    yield "tidemill_lookup_misses_total", one_label(stats.misses)
    yield "tidemill_changes_total", [((), stats.changes)]
    yield "tidemill_lag_records", [((topic, str(number)), lag) for (topic, number), lag in stats.lag.items()]
    yield "tidemill_table_lag_records", one_label(stats.table_lag)
    yield (
        "tidemill_event_time_lag_seconds",
        [((task,), max(now - newest, 0) / 1000) for task, newest in stats.stream_time.items()],
    )
    yield "tidemill_commits_aborted_total", [((), stats.aborts)]
    yield "tidemill_joined", [((), int(stats.joined))]
    yield "tidemill_tasks", [(("restoring",), stats.restoring), (("running",), stats.running)]
    yield "tidemill_rebalances_total", [((), stats.rebalances)]
    yield "tidemill_losses_total", [((), stats.losses)]
    yield "tidemill_restore_records_total", [((), stats.restored)]
    yield "tidemill_restore_remaining_records", [((), stats.restore_remaining)]
    yield "tidemill_copy_lag_records", one_label(stats.copies)
    yield "tidemill_state_bytes", one_label(stats.state_bytes)
    yield "tidemill_dirty_bytes", [((), stats.dirty_bytes)]
    yield "tidemill_buffer_bytes", [((), stats.buffer_bytes)]
    yield "tidemill_poll_seconds_total", [((), stats.poll_seconds)]
    yield "tidemill_process_seconds_total", [((), stats.process_seconds)]
    yield "tidemill_turn_age_seconds", [((), max(now - stats.turned, 0) / 1000 if stats.turned else 0)]
    yield "tidemill_application_tasks", [((), stats.tasks)] if stats.tasks else []
    load = load_of(stats.samples)
    yield "tidemill_busy_ratio", [((), 0.0 if load is None else load.busy)]
    yield "tidemill_needed_workers", [((), 1.0 if load is None else load.needed)]


def one_label(figures: Mapping[str, float]) -> list[Sample]:
    """Samples of a metric with one label."""
    return [((label,), figure) for label, figure in figures.items()]


class StatsCollector(Collector):
    """Reads `Stats` at each scrape."""

    def __init__(self, stats: Stats, info: tuple[str, str, str], now: Callable[[], int]) -> None:
        """`info` is the application id, Tidemill's version and the guarantee; `now` the wall clock in ms."""
        self._stats = stats
        self._info = info
        self._now = now

    def collect(self) -> Iterable[Metric]:
        yield family("tidemill_info", [(self._info, 1)])
        for name, found in samples(self._stats, self._now()):
            yield family(name, found)
        yield histogram("tidemill_commit_seconds", self._stats.commit_seconds)

    def describe(self) -> Iterable[Metric]:
        return [Metric(name, described.meaning, described.type) for name, described in CATALOGUE.items()]


def family(name: MetricName, found: Iterable[Sample]) -> Metric:
    """A metric with its samples."""
    described = CATALOGUE[name]
    make = CounterMetricFamily if described.type == "counter" else GaugeMetricFamily
    made = make(name, described.meaning, labels=described.labels)
    for labels, figure in found:
        made.add_metric(labels, figure)
    return made


def histogram(name: MetricName, counted: Histogram) -> Metric:
    """A histogram as Prometheus has it: each bucket holds those below it too."""
    below = list(accumulate(counted.counts))
    bounds = [*map(str, counted.bounds), "+Inf"]
    made = HistogramMetricFamily(name, CATALOGUE[name].meaning)
    made.add_metric((), list(zip(bounds, below, strict=True)), counted.total)
    return made


def registry_of(collector: Collector) -> CollectorRegistry:
    """The collector together with the process's own figures: memory, CPU time, open files, garbage collection."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
