"""The recovery job: the time from the start of a process after SIGKILL to its first outputs.

The state is a profile of about 200 bytes per key. Input continues at a low rate, so the kill interrupts a transaction,
and each partition has an output as soon as it can. Recovery is complete when all partitions have committed outputs of
the new process. Three scenarios run one after the other with the same state:

    kept         immediate restart with the state directory
    snapshot     without the state directory, as on a new machine, for engines with snapshots
    changelog    the same without snapshots

In the last two, the new process starts when the group has removed the killed member, after its session timeout, which
is not part of the measured time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence

from bench.events import Event, Shape, events
from bench.input import write
from bench.probe import Receiver, Sender
from bench.results import Recovery
from bench.running import Cluster, Died, Program, Setup, Worker

__all__ = ["SCENARIOS", "replayed", "run"]

SCENARIOS = ("kept", "snapshot", "changelog")
NOTE = 150
_PARTITIONS = 4
_TRICKLE = 2_000
_TIMEOUT = 600.0
_SESSION = "session_ms=6000"


def _each_key_once(shape: Shape) -> Iterator[Event]:
    """Yield the events of the shape, the n-th with the n-th key."""
    for number, (_, value, timestamp) in enumerate(events(shape)):
        yield b"user-%d" % (number % shape.keys), value, timestamp


def run(
    cluster: Cluster,
    command: Sequence[str],
    setup: Setup,
    keys: int,
    replayed_pattern: str,
    snapshot_pattern: str = "",
    before_kill: float = 5.3,
) -> Iterator[Recovery]:
    """Yield the result of each scenario; raise Died if the engine fails."""
    topics = cluster.topics
    with Program(cluster, command, setup, "") as program:
        source = f"{program.app}-in"
        topics.create(source)
        program.read_from(source)
        write(cluster.broker, source, _each_key_once(Shape(keys, keys, note=NOTE)))
        snapshots = f"snapshots=file://{program.directory}/snapshots" if snapshot_pattern else ""
        worker = program.start(_SESSION, *filter(None, [snapshots]))
        try:
            _wait(worker, program, "read the input", lambda: _committed(cluster, program.app, source) >= keys)
            trickle = Sender(cluster.broker, source, _each_key_once(Shape(10**9, keys, seed=2, note=NOTE)), _TRICKLE)
            with trickle:
                if snapshot_pattern:
                    _await_snapshots(worker, program, snapshot_pattern)
                for scenario in SCENARIOS:
                    if scenario == "snapshot" and not snapshot_pattern:
                        continue
                    time.sleep(before_kill)
                    worker.check()
                    worker.kill()
                    size = program.state_bytes()
                    if scenario != "kept":
                        program.delete_state()
                        _until("the group to remove its member", lambda: topics.empty(program.app))
                    old_log = len(program.log.read_bytes())
                    more = () if scenario == "changelog" else filter(None, [snapshots])
                    began = time.monotonic()
                    # Outputs below these offsets are of the old process, whether committed or to be aborted.
                    ends = topics.ends(program.output, _PARTITIONS)
                    worker = program.start(_SESSION, *more)
                    back = _outputs(cluster, program, worker, ends, began)
                    cpu = worker.tree.cpu()
                    time.sleep(1.0)  # the log line about replayed records may come after the first outputs
                    new_log = program.log.read_bytes()[old_log:].decode(errors="replace")
                    found = replayed(new_log, replayed_pattern)
                    yield Recovery(keys, min(back), max(back), found, scenario, size / 1e6, cpu)
        finally:
            worker.kill()


def _outputs(cluster: Cluster, program: Program, worker: Worker, ends: Sequence[int], began: float) -> Sequence[float]:
    """Return the times until the first committed output of each partition, in seconds."""
    back: dict[int, float] = {}
    with Receiver(cluster.broker, program.output, ends) as receiver:
        while len(back) < _PARTITIONS:
            worker.check()
            if time.monotonic() - began > _TIMEOUT:
                raise Died(f"no outputs of all partitions after {_TIMEOUT:.0f} s:\n{program.log.read_text()[-2000:]}")
            for at, partition, _, _, _ in receiver.receive(0.05):
                back.setdefault(partition, at - began)
    return list(back.values())


def _committed(cluster: Cluster, group: str, source: str) -> int:
    return sum(offset for (topic, _), offset in cluster.topics.committed(group).items() if topic == source)


def _await_snapshots(worker: Worker, program: Program, pattern: str) -> None:
    """Wait until each task has a snapshot that was started after this call."""
    begin = len(program.log.read_bytes())

    def all_have() -> bool:
        log = program.log.read_bytes()[begin:].decode(errors="replace")
        tasks = re.findall(pattern, log)
        return all(tasks.count(task) >= 2 for task in set(tasks)) and len(set(tasks)) == _PARTITIONS

    _wait(worker, program, "take snapshots", all_have)


def _wait(worker: Worker, program: Program, what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        worker.check()
        if time.monotonic() > deadline:
            raise Died(f"did not {what} in {_TIMEOUT:.0f} s:\n{program.log.read_text()[-2000:]}")
        time.sleep(0.2)


def _until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise Died(f"timed out waiting for {what}")
        time.sleep(0.1)


def replayed(log: str, pattern: str) -> int | None:
    """Return the sum of the numbers that the pattern captures in the log, None without a match."""
    found = [int(number) for number in re.findall(pattern, log)]
    return sum(found) if found else None
