"""A job over a backlog: how many records a second, for how much CPU time and memory.

The clock starts when the group is stable, that is when the engine has its partitions and begins to fetch. Progress
is how far the output has grown (one output an input), or how far the offsets are committed (one output a key and
commit). Rates are taken between observed points of progress, never over the wait for the last commit. `Warm` is the
second half of the input.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from bench.events import Expected, Shape
from bench.measure import Machine
from bench.results import Phase, Throughput
from bench.running import Cluster, Died, Program, Setup, Worker
from bench.topics import Topics
from bench.verify import committed_outputs, verify

__all__ = ["Point", "phase", "run"]

_STEP = 0.05
_QUIET = 3.0
_SLOWEST = 400  # records a second: less is taken for standing still


class Point(NamedTuple):
    """What was seen at one moment. Times and CPU times in seconds."""

    at: float
    done: float
    """The part of the input that is done, 0 to 1."""
    cpu: float
    broker_cpu: float
    busy: float
    """The whole machine."""
    own: float
    """The bench."""


def phase(points: Sequence[Point], first: float, records: int) -> Phase:
    """What happened from the point at which the part `first` was done to the last point before the end."""
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


class _Watch:
    """Looks at a running job in steps until it is done."""

    def __init__(self, cluster: Cluster, program: Program, worker: Worker) -> None:
        self._cluster = cluster
        self._topics = cluster.topics
        self._program = program
        self._worker = worker

    def point(self, done: float) -> Point:
        broker_cpu = self._cluster.broker_cpu()
        return Point(time.monotonic(), done, self._worker.tree.cpu(), broker_cpu, Machine.busy(), Machine.own())

    def until_stable(self, patience: float = 90.0) -> None:
        """Waits until the group has its partitions, or until something was written (an engine may have no group)."""
        deadline = time.monotonic() + patience
        while not self._topics.stable(self._program.app):
            self._worker.check()
            if sum(self._topics.ends(self._program.output)) > 0:
                return
            if time.monotonic() > deadline:
                raise Died(f"no stable group after {patience:.0f} s:\n{self._program.log.read_text()[-2000:]}")
            time.sleep(_STEP)

    def until_done(self, progress: Callable[[int], float], patience: float) -> list[Point]:
        """Points from now until progress is 1 and nothing is written any more or everything is."""
        points = [self.point(0.0)]
        deadline = time.monotonic() + patience
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
            if now - quiet_since > _QUIET + 15 or now > deadline:
                raise Died(
                    f"came to a stand at {points[-1].done:.1%} of the input, {written} outputs written:\n"
                    + self._program.log.read_text()[-2000:]
                )


def run(cluster: Cluster, command: Sequence[str], setup: Setup, shape: Shape, right: Expected) -> Throughput:
    """Runs one job over the whole input, checks what it wrote and returns the figures. Raises Died or Wrong."""
    with Program(cluster, command, setup, shape.topic) as program, program.start() as worker:
        launched = time.monotonic()
        watch = _Watch(cluster, program, worker)
        watch.until_stable()
        startup = time.monotonic() - launched
        one_each = setup.outputs == "update" or setup.job == "J1"
        progress = partial(
            _progress, cluster.topics, program.app, setup.job, shape, right.outputs if one_each else None
        )
        points = watch.until_done(progress, patience=60 + shape.records / _SLOWEST)
        _await_committed(cluster.topics, program, worker, shape)
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


def _progress(topics: Topics, app: str, job: str, shape: Shape, outputs: int | None, written: int) -> float:
    """The part that is done: of the outputs, if it is known how many there will be, else of the offsets.

    J4 goes its way in two halves, and an engine may be through with the first before it begins the second: to the
    repartition topic (by the offsets of the input) and from there (by the outputs, or the repartition topic's offsets).
    """
    if outputs is not None and job != "J4":
        return min(1.0, written / outputs)
    committed = topics.committed(app)
    read = min(1.0, sum(at for (topic, _), at in committed.items() if topic == shape.topic) / shape.records)
    if job != "J4":
        return read
    again = sum(at for (topic, _), at in committed.items() if topic != shape.topic) / shape.records
    return (read + min(1.0, again if outputs is None else written / outputs)) / 2


def _await_committed(topics: Topics, program: Program, worker: Worker, shape: Shape) -> None:
    """Waits for the last commit. An engine without offsets in Kafka gets 3 s."""
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
