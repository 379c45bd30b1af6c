"""The metrics of a process, in the Prometheus data model.

`MetricName` is the complete list of names and `CATALOGUE` describes each; nothing else is exported. They are a stable
interface: dashboards and alerts are built on them. The values come from `Stats`, read at each scrape.
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

__all__ = ["CATALOGUE", "MetricDescription", "MetricName", "StatsCollector", "family", "registry_of"]

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
    "tidemill_restore_remaining_bytes",
    "tidemill_snapshots_total",
    "tidemill_snapshot_failures_total",
    "tidemill_snapshot_uploaded_bytes_total",
    "tidemill_snapshot_age_seconds",
    "tidemill_snapshot_bytes",
    "tidemill_snapshot_seconds",
    "tidemill_commit_waiting_seconds",
    "tidemill_schema_registry_up",
    "tidemill_schema_registry_requests_total",
    "tidemill_schema_registry_failures_total",
    "tidemill_held_partitions",
    "tidemill_target_records_total",
    "tidemill_target_failures_total",
    "tidemill_target_unavailable_seconds",
    "tidemill_call_failures_total",
    "tidemill_circuit_open_seconds",
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
MetricSample: TypeAlias = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class MetricDescription:
    """The description of a metric."""

    type: Type
    labels: tuple[str, ...]
    meaning: str


CATALOGUE: Final[Mapping[MetricName, MetricDescription]] = {
    "tidemill_info": MetricDescription(
        "gauge", ("app", "version", "guarantee"), "Always 1; its labels describe the program."
    ),
    "tidemill_records_in_total": MetricDescription("counter", ("task",), "Records processed."),
    "tidemill_records_out_total": MetricDescription(
        "counter", (), "Records written to the program's topics and to repartition topics."
    ),
    "tidemill_records_dropped_total": MetricDescription(
        "counter", ("step", "reason"), "Records that a step dropped, for example without a key or too late."
    ),
    "tidemill_lookup_misses_total": MetricDescription(
        "counter",
        ("step",),
        "Records for which a join with a table, a global table or by foreign key found no row.",
    ),
    "tidemill_changes_total": MetricDescription("counter", (), "Committed changes of state."),
    "tidemill_lag_records": MetricDescription(
        "gauge", ("topic", "partition"), "Records between the position and the end of an input partition."
    ),
    "tidemill_table_lag_records": MetricDescription(
        "gauge", ("table",), "Records of a global table that this process has not read yet."
    ),
    "tidemill_event_time_lag_seconds": MetricDescription(
        "gauge", ("task",), "Wall clock minus the newest event time processed."
    ),
    "tidemill_commit_seconds": MetricDescription(
        "histogram", (), "Duration of a commit, including writes to the stores; its count is the number of commits."
    ),
    "tidemill_commits_aborted_total": MetricDescription("counter", (), "Commits that failed; their work was undone."),
    "tidemill_joined": MetricDescription("gauge", (), "1 while the process is a member of the group, else 0."),
    "tidemill_tasks": MetricDescription("gauge", ("state",), "Tasks of this process: `restoring` or `running`."),
    "tidemill_rebalances_total": MetricDescription("counter", (), "Times that tasks were reassigned."),
    "tidemill_losses_total": MetricDescription("counter", (), "Times that the process lost its tasks to others."),
    "tidemill_restore_records_total": MetricDescription(
        "counter", (), "Changelog records replayed for tasks before they ran."
    ),
    "tidemill_restore_remaining_records": MetricDescription(
        "gauge", (), "Changelog records still to be read before all tasks of this process run."
    ),
    "tidemill_restore_remaining_bytes": MetricDescription(
        "gauge", (), "Bytes of snapshots still to be downloaded before all tasks of this process run."
    ),
    "tidemill_snapshots_total": MetricDescription("counter", (), "Snapshots taken."),
    "tidemill_snapshot_failures_total": MetricDescription("counter", (), "Snapshots that failed."),
    "tidemill_snapshot_uploaded_bytes_total": MetricDescription("counter", (), "Bytes uploaded for snapshots."),
    "tidemill_snapshot_age_seconds": MetricDescription(
        "gauge", ("task",), "Time since this process last took a snapshot of a task's stores."
    ),
    "tidemill_snapshot_bytes": MetricDescription("gauge", ("task",), "Size of that snapshot."),
    "tidemill_snapshot_seconds": MetricDescription(
        "gauge", ("task",), "Duration of that snapshot, including its upload."
    ),
    "tidemill_commit_waiting_seconds": MetricDescription(
        "gauge",
        (),
        "For how long the present commit has waited for its snapshots; nothing is processed meanwhile. Only with "
        'durability "snapshot".',
    ),
    "tidemill_schema_registry_up": MetricDescription(
        "gauge", ("registry",), "1 unless a schema registry has not answered the last attempt."
    ),
    "tidemill_schema_registry_requests_total": MetricDescription(
        "counter", ("registry",), "Schemas asked for at a schema registry, with an answer."
    ),
    "tidemill_schema_registry_failures_total": MetricDescription(
        "counter", ("registry",), "Attempts to get a schema that a schema registry did not answer."
    ),
    "tidemill_held_partitions": MetricDescription(
        "gauge", (), "Input partitions with records that wait for a schema, and are not processed before they have it."
    ),
    "tidemill_target_records_total": MetricDescription(
        "counter", ("step",), "Records that a sink has written to its target."
    ),
    "tidemill_target_failures_total": MetricDescription(
        "counter", ("step",), "Attempts to write that failed because the target was unavailable."
    ),
    "tidemill_target_unavailable_seconds": MetricDescription(
        "gauge", ("step",), "For how long the target of a sink has been unavailable; 0 while it is written."
    ),
    "tidemill_call_failures_total": MetricDescription(
        "counter", ("step",), "Attempts of the calls of `map_async` that failed, by step."
    ),
    "tidemill_circuit_open_seconds": MetricDescription(
        "gauge", ("step",), "For how long the circuit of a `map_async` step has been open; 0 while it is closed."
    ),
    "tidemill_copy_lag_records": MetricDescription(
        "gauge",
        ("task",),
        "Changelog records by which copies in this process are behind: standbys, and tasks that move here.",
    ),
    "tidemill_state_bytes": MetricDescription("gauge", ("task",), "Size of a task's stores."),
    "tidemill_dirty_bytes": MetricDescription("gauge", (), "Decoded state that waits for a commit."),
    "tidemill_buffer_bytes": MetricDescription("gauge", (), "Fetched records that wait to be processed."),
    "tidemill_poll_seconds_total": MetricDescription(
        "counter", (), "Time the processing thread spent waiting for records and receiving them."
    ),
    "tidemill_process_seconds_total": MetricDescription(
        "counter",
        (),
        "Time it spent in steps. As a fraction of both, this is how busy the process is; near 1, add workers.",
    ),
    "tidemill_turn_age_seconds": MetricDescription(
        "gauge", (), "Time since the processing thread last finished a turn; it grows while a call hangs."
    ),
    "tidemill_application_tasks": MetricDescription(
        "gauge", (), "Tasks of the whole application: any further processes have nothing to do."
    ),
    "tidemill_busy_ratio": MetricDescription(
        "gauge", (), "Fraction of the last 15 s that the processing thread spent in steps, not waiting for records."
    ),
    "tidemill_needed_workers": MetricDescription(
        "gauge",
        (),
        "Number of processes that the work of this one requires, by lag, its growth and how busy it is; 1 until that "
        "is known. The sum over all processes of an application, rounded up, is the number that it should have.",
    ),
    "tidemill_worker_up": MetricDescription(
        "gauge", ("worker",), "With several workers: 1 for one that answers its supervisor, else 0."
    ),
    "tidemill_worker_restarts_total": MetricDescription(
        "counter", ("worker",), "With several workers: times that the supervisor restarted one."
    ),
    "tidemill_wanted_workers": MetricDescription("gauge", (), "With several workers: how many there should be now."),
}


def samples(stats: Stats, now: int) -> Iterator[tuple[MetricName, list[MetricSample]]]:
    """Yield the values of all plain-number metrics, each with its label values."""
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
    yield "tidemill_restore_remaining_bytes", [((), stats.restore_bytes_remaining)]
    snapshots = stats.snapshots
    yield "tidemill_snapshots_total", [((), snapshots.taken)]
    yield "tidemill_snapshot_failures_total", [((), snapshots.failures)]
    yield "tidemill_snapshot_uploaded_bytes_total", [((), snapshots.uploaded)]
    yield (
        "tidemill_snapshot_age_seconds",
        [((task,), max(now - created, 0) / 1000) for task, created in snapshots.created.items()],
    )
    yield "tidemill_snapshot_bytes", one_label(snapshots.sizes)
    yield "tidemill_snapshot_seconds", one_label(snapshots.seconds)
    yield "tidemill_commit_waiting_seconds", [((), stats.commit_waits)]
    registries = stats.registries
    yield "tidemill_schema_registry_up", one_label({each.url: int(each.up) for each in registries})
    yield "tidemill_schema_registry_requests_total", one_label({each.url: each.requests for each in registries})
    yield "tidemill_schema_registry_failures_total", one_label({each.url: each.failures for each in registries})
    yield "tidemill_held_partitions", [((), stats.held)]
    yield "tidemill_target_records_total", one_label(stats.targets.written)
    yield "tidemill_target_failures_total", one_label(stats.targets.failures)
    yield "tidemill_target_unavailable_seconds", one_label(stats.targets.seconds_unavailable(now))
    yield "tidemill_call_failures_total", one_label(stats.calls.failures)
    yield "tidemill_circuit_open_seconds", one_label(stats.calls.seconds_open(now))
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


def one_label(figures: Mapping[str, float]) -> list[MetricSample]:
    """Return samples of a metric with one label."""
    return [((label,), figure) for label, figure in figures.items()]


class StatsCollector(Collector):
    """Reads `Stats` at each scrape."""

    def __init__(self, stats: Stats, info: tuple[str, str, str], now: Callable[[], int]) -> None:
        """Make a collector; `now` is the wall clock in ms.

        `info` is the application id, Tidemill's version and the guarantee.
        """
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


def family(name: MetricName, found: Iterable[MetricSample]) -> Metric:
    """Return a metric with its samples."""
    described = CATALOGUE[name]
    make = CounterMetricFamily if described.type == "counter" else GaugeMetricFamily
    made = make(name, described.meaning, labels=described.labels)
    for labels, figure in found:
        made.add_metric(labels, figure)
    return made


def histogram(name: MetricName, counted: Histogram) -> Metric:
    """Return a histogram as Prometheus defines it: each bucket includes those below it."""
    below = list(accumulate(counted.counts))
    bounds = [*map(str, counted.bounds), "+Inf"]
    made = HistogramMetricFamily(name, CATALOGUE[name].meaning)
    made.add_metric((), list(zip(bounds, below, strict=True)), counted.total)
    return made


def registry_of(collector: Collector) -> CollectorRegistry:
    """Return a registry of the collector and the process: memory, CPU time, open files, GC."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
