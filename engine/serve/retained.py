"""Metrics of workers that come and go, as one set in which counters never decrease.

A restarted worker counts from zero, and a worker that was scaled away cannot be asked. So the last known counters of
each process are kept and added to those of its successor. Gauges are current, and disappear with the worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["RetainedMetrics"]

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of a sample."""

COUNTING: Final = ("counter", "histogram")


@dataclass
class RetainedSeries:
    """The metrics of one worker."""

    life: int = -1
    earlier: dict[Series, float] = field(default_factory=dict[Series, float])
    """The counters of its former processes."""
    counted: dict[Series, float] = field(default_factory=dict[Series, float])
    """The counters of the last known process."""
    levels: dict[Series, float] = field(default_factory=dict[Series, float])

    def note(self, life: int) -> None:
        """Note an answer of a worker's process; a new process counts from zero."""
        if life != self.life:
            for series, value in self.counted.items():
                self.earlier[series] = self.earlier.get(series, 0.0) + value
            self.life, self.counted = life, {}
        self.levels = {}

    def samples(self) -> Iterable[tuple[Series, float]]:
        """Yield all samples of the worker."""
        yield from self.levels.items()
        for series in {**self.earlier, **self.counted}:
            yield series, self.earlier.get(series, 0.0) + self.counted.get(series, 0.0)


class RetainedMetrics:
    """The metrics of all workers. Not thread-safe."""

    def __init__(self) -> None:
        self._workers: dict[int, RetainedSeries] = {}
        self._families: dict[str, tuple[str, str, str]] = {}
        """Family name, meaning and type, by the name of a sample."""

    def note(self, worker: int, life: int, text: str) -> None:
        """Add the metrics of a worker's nth process, in Prometheus' text format."""
        known = self._workers.setdefault(worker, RetainedSeries())
        if life < known.life:
            return  # a late answer of an earlier process
        known.note(life)
        for metric in text_string_to_metric_families(text):
            kept = known.counted if metric.type in COUNTING else known.levels
            for sample in metric.samples:
                self._families[sample.name] = (metric.name, metric.documentation, metric.type)
                kept[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def silent(self, worker: int) -> None:
        """Drop the gauges of a worker that does not answer."""
        if worker in self._workers:
            self._workers[worker].levels = {}

    def level(self, worker: int, name: str, labels: Mapping[str, str]) -> float:
        """Return the sum of a worker's gauges of this name with these labels; 0 if there is none."""
        known = self._workers.get(worker)
        if known is None:
            return 0.0
        return sum(
            value for series, value in known.levels.items() if series[0] == name and labels.items() <= {*series[1]}
        )

    def metrics(self) -> Iterable[Metric]:
        """Return one set of metrics, each sample with the label `worker`."""
        found: dict[str, Metric] = {}
        for worker, known in sorted(self._workers.items()):
            for (name, labels), value in known.samples():
                family, meaning, kind = self._families[name]
                whole = found.setdefault(family, Metric(family, meaning, kind))
                whole.add_sample(name, {**dict(labels), "worker": str(worker)}, value)
        return found.values()
