"""The latency job: the time from `produce()` to the receipt of the committed result of J2.

Records are sent at a constant rate. Sender and receiver are in one process and use the same clock. The result with
count n of a key belongs to the n-th record of that key, so records need no identifier.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.events import Shape, events
from bench.probe import Receiver, Sender
from bench.results import Latency
from bench.running import Cluster, Died, Program, Setup, Worker
from bench.verify import Wrong

__all__ = ["percentile", "run"]

_WARM_UP = 10.0
_LONGEST_WARM_UP = 60.0


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that at least the fraction `part` of the values do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def run(cluster: Cluster, command: Sequence[str], setup: Setup, rate: int, seconds: int, keys: int) -> Latency:
    """Run the latency job; raise Died or Wrong if the engine fails."""
    shape = Shape(records=10**9, keys=keys)
    with Program(cluster, command, setup, "") as program:
        source = f"{program.app}-in"
        cluster.topics.create(source)
        program.read_from(source)
        with program.start() as worker, Receiver(cluster.broker, program.output) as receiver:
            deadline = time.monotonic() + 90
            while not cluster.topics.stable(program.app):
                worker.check()
                if time.monotonic() > deadline:
                    raise Died("no stable group after 90 s")
                time.sleep(0.1)
            with Sender(cluster.broker, source, events(shape), rate) as sender:
                begin = _warm_up(worker, receiver, sender)
                end = begin + seconds
                taken: list[float] = []
                cpu = worker.tree.cpu()
                while time.monotonic() < end:
                    worker.check()
                    taken += (
                        (at - sender.sent[key][count - 1]) * 1000 for at, _, _, key, count in receiver.receive(0.1)
                    )
                cpu = worker.tree.cpu() - cpu
    if len(taken) < 0.5 * rate * seconds and setup.outputs == "update":
        raise Wrong(f"{len(taken)} outputs in {seconds} s, expected {rate * seconds}: the engine does not keep up")
    if not taken:
        raise Wrong("no output")
    taken.sort()
    return Latency(
        records_per_second=rate,
        seconds=seconds,
        received=len(taken),
        p50_ms=percentile(taken, 0.5),
        p90_ms=percentile(taken, 0.9),
        p99_ms=percentile(taken, 0.99),
        max_ms=taken[-1],
        cpu_cores=cpu / seconds,
        peak_rss_mb=worker.tree.peak_rss / 1e6,
    )


def _warm_up(worker: Worker, receiver: Receiver, sender: Sender) -> float:
    """Run until the warm-up time has passed and the engine has caught up with its input."""
    began = time.monotonic()
    while True:
        worker.check()
        receipts = receiver.receive(0.1)
        now = time.monotonic()
        behind = now - sender.sent[receipts[-1][3]][receipts[-1][4] - 1] if receipts else now - began
        if (now - began > _WARM_UP and receipts and behind < 1) or now - began > _LONGEST_WARM_UP:
            return now
