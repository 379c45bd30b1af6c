"""The throughput jobs: records per second, CPU time and memory while a backlog is processed.

The clock starts when the group is stable, that is, when the engine has its partitions and begins to fetch. Progress is
the growth of the output (one output per input) or of the committed offsets (one output per key and commit). Rates are
taken between observed points of progress, never over the wait for the last commit. `warm` is the second half of the
input.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from bench.events import ONE_EACH, SAME_EITHER_WAY, Expected, Shape
from bench.measure import Machine
from bench.results import Phase, Throughput
from bench.running import Cluster, Died, Program, Setup, Worker
from bench.topics import Topics
from bench.verify import committed_outputs, verify

__all__ = ["Point", "phase", "run"]

_STEP = 0.05
_QUIET = 3.0
_STALLED = 60.0
"""Seconds without output after which a run has failed; longer than a micro-batch on a busy machine."""
_SLOWEST = 400  # records per second: slower runs time out


class Point(NamedTuple):
    """An observation at one time; times and CPU times in seconds."""

    at: float
    done: float
    """The fraction of the input that is processed, 0 to 1."""
    cpu: float
    broker_cpu: float
    busy: float
    """CPU seconds of the whole machine."""
    own: float
    """CPU seconds of the benchmark."""


def phase(points: Sequence[Point], first: float, records: int) -> Phase:
    """Return the rates from the fraction `first` of the input to the last point before the end."""
    marks = [point for i, point in enumerate(points) if i == 0 or point.done > points[i - 1].done]
    begin = next(point for point in marks if point.done >= first)
    before_end = [point for point in marks if 0.8 <= point.done < 1 and point.done - begin.done >= 0.3 * (1 - first)]
    end = before_end[-1] if before_end else marks[-1]
    n = records * (end.done - begin.done)
    seconds = end.at - begin.at
    if n <= 0 or seconds <= 0:
        return Phase(0.0, 0.0, 0.0, 0.0, 0.0)
    cpu = end.cpu - begin.cpu
    broker = end.broker_cpu - begin.broker_cpu
    others = end.busy - begin.busy - cpu - broker - (end.own - begin.own)
    return Phase(
        seconds=seconds,
        records_per_second=n / seconds,
        cpu_per_million=cpu / n * 1e6,
        broker_cpu_per_million=broker / n * 1e6,
        others_cores=max(0.0, others / seconds),
    )


class _Observer:
    """Observes a running job at intervals until its input is processed."""

    def __init__(self, cluster: Cluster, program: Program, worker: Worker) -> None:
        self._cluster = cluster
        self._topics = cluster.topics
        self._program = program
        self._worker = worker

    def point(self, done: float) -> Point:
        broker_cpu = self._cluster.broker_cpu()
        return Point(time.monotonic(), done, self._worker.tree.cpu(), broker_cpu, Machine.busy(), Machine.own())

    def wait_until_stable(self, timeout: float = 180.0) -> None:
        """Wait until the group is stable, or until there is output (an engine may have no group)."""
        deadline = time.monotonic() + timeout
        while not self._topics.stable(self._program.app):
            self._worker.check()
            if sum(self._topics.ends(self._program.output)) > 0:
                return
            if time.monotonic() > deadline:
                raise Died(f"no stable group after {timeout:.0f} s:\n{self._program.log.read_text()[-2000:]}")
            time.sleep(_STEP)

    def observe(self, progress: Callable[[int], float], timeout: float) -> list[Point]:
        """Return points from now until progress is 1; raise Died if it stops before that."""
        points = [self.point(0.0)]
        deadline = time.monotonic() + timeout
        quiet_since = time.monotonic()
        written = -1
        while True:
            self._worker.check()
            time.sleep(_STEP)
            now_written = sum(self._topics.ends(self._program.output))
            points.append(self.point(progress(now_written)))
            now = points[-1].at
            if now_written != written:
                written, quiet_since = now_written, now
            if points[-1].done >= 1:
                return points
            if now - quiet_since > _STALLED or now > deadline:
                raise Died(
                    f"stopped making progress at {points[-1].done:.1%} of the input, {written} outputs written:\n"
                    + self._program.log.read_text()[-2000:]
                )


def run(
    cluster: Cluster, command: Sequence[str], setup: Setup, shape: Shape, right: Expected, *, repartitions: bool = True
) -> Throughput:
    """Run one job over the whole input, verify its output, and return the measurements.

    `repartitions` is whether J4 of the engine goes through a topic.

    Raises:
        Died: The engine has ended or makes no progress.
        Wrong: The output is not as expected.
    """
    with Program(cluster, command, setup, shape.topic) as program, program.start() as worker:
        launched = time.monotonic()
        observer = _Observer(cluster, program, worker)
        observer.wait_until_stable()
        startup = time.monotonic() - launched
        one_each = setup.job in SAME_EITHER_WAY or (setup.outputs == "update" and setup.job in ONE_EACH)
        progress = partial(
            _progress,
            cluster.topics,
            program.app,
            shape,
            right.outputs if one_each else None,
            halves=setup.job == "J4" and repartitions,
        )
        points = observer.observe(progress, timeout=60 + shape.records / _SLOWEST)
        _wait_for_commit(cluster.topics, program, worker, shape)
        worker.stop()
        outputs = committed_outputs(cluster.broker, program.output)
        written = verify(outputs, setup.job, right, every=one_each)
        return Throughput(
            whole=phase(points, 0.0, shape.records),
            warm=phase(points, 0.5, shape.records),
            startup_seconds=startup,
            peak_rss_mb=worker.tree.peak_rss / 1e6,
            outputs=written,
        )


def _progress(topics: Topics, app: str, shape: Shape, outputs: int | None, written: int, *, halves: bool) -> float:
    """Return the fraction of outputs written, or of offsets committed if `outputs` is None.

    J4 may have two halves, and an engine may finish the first before it starts the second: up to the repartition topic
    (by the offsets of the input) and from there (by the outputs, or the offsets of the repartition topic). An engine
    that combines records writes fewer to that topic: then it is what has been read of those.
    """
    if outputs is not None and not halves:
        return min(1.0, written / outputs)
    committed = topics.committed(app)
    read = min(1.0, sum(at for (topic, _), at in committed.items() if topic == shape.topic) / shape.records)
    if not halves:
        return read
    if outputs is not None:
        return (read + min(1.0, written / outputs)) / 2
    later = {topic for topic, _ in committed if topic != shape.topic}
    done = sum(at for (topic, _), at in committed.items() if topic in later)
    there = sum(sum(topics.ends(topic)) for topic in later)
    return (read + min(1.0, max(done / shape.records, read * done / there if there else 0.0))) / 2


def _wait_for_commit(topics: Topics, program: Program, worker: Worker, shape: Shape) -> None:
    """Wait for the last commit, or for 3 s if the engine does not keep offsets in Kafka."""
    deadline = time.monotonic() + 60
    began = time.monotonic()
    while True:
        worker.check()
        committed = [offset for (topic, _), offset in topics.committed(program.app).items() if topic == shape.topic]
        if sum(committed) >= shape.records:
            time.sleep(0.5)  # the last commit of a later sub-topology
            return
        if time.monotonic() > deadline or (not committed and time.monotonic() - began > _QUIET):
            return
        time.sleep(_STEP)
