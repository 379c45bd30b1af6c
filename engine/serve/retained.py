"""Metrics of workers that come and go, as one set whose counters never go down.

A worker that is started again counts from nothing, and one that was scaled away is not there to be asked. So what each
had counted when it was last heard of is kept and added to what its next life counts. Levels are those of now, and gone
with the worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Retained"]

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of a sample."""

COUNTING: Final = ("counter", "histogram")


@dataclass
class Known:
    """What is known of one worker."""

    life: int = -1
    earlier: dict[Series, float] = field(default_factory=dict[Series, float])
    """What its former lives had counted."""
    counted: dict[Series, float] = field(default_factory=dict[Series, float])
    """What the life last heard of had counted."""
    levels: dict[Series, float] = field(default_factory=dict[Series, float])

    def heard(self, life: int) -> None:
        """Something comes from this life: a new one begins to count anew."""
        if life != self.life:
            for series, value in self.counted.items():
                self.earlier[series] = self.earlier.get(series, 0.0) + value
            self.life, self.counted = life, {}
        self.levels = {}

    def samples(self) -> Iterable[tuple[Series, float]]:
        """All there is to tell of it."""
        yield from self.levels.items()
        for series in {**self.earlier, **self.counted}:
            yield series, self.earlier.get(series, 0.0) + self.counted.get(series, 0.0)


class Retained:
    """All workers' metrics. Not for several threads at once."""

    def __init__(self) -> None:
        self._workers: dict[int, Known] = {}
        self._families: dict[str, tuple[str, str, str]] = {}
        """Family name, meaning and type by the name of a sample."""

    def heard(self, worker: int, life: int, text: str) -> None:
        """What a worker in its nth life says of itself, in Prometheus' text format."""
        known = self._workers.setdefault(worker, Known())
        if life < known.life:
            return  # an answer that was long on its way
        known.heard(life)
        for metric in text_string_to_metric_families(text):
            kept = known.counted if metric.type in COUNTING else known.levels
            for sample in metric.samples:
                self._families[sample.name] = (metric.name, metric.documentation, metric.type)
                kept[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def silent(self, worker: int) -> None:
        """A worker does not answer: it has no levels."""
        if worker in self._workers:
            self._workers[worker].levels = {}

    def level(self, worker: int, name: str, labels: Mapping[str, str]) -> float | None:
        """A level of a worker, None when it has not said."""
        known = self._workers.get(worker)
        return None if known is None else known.levels.get((name, tuple(sorted(labels.items()))))

    def metrics(self) -> Iterable[Metric]:
        """One set of metrics, each sample with the label `worker`."""
        found: dict[str, Metric] = {}
        for worker, known in sorted(self._workers.items()):
            for (name, labels), value in known.samples():
                family, meaning, kind = self._families[name]
                whole = found.setdefault(family, Metric(family, meaning, kind))
                whole.add_sample(name, {**dict(labels), "worker": str(worker)}, value)
        return found.values()
