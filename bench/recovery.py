"""A process with much state killed by SIGKILL and started again at once on the same state directory: how long until it
is back.

The state is a profile of about 100 bytes a key. Input trickles in all the time, so that the kill comes in mid-
transaction and every partition has something to answer as soon as it can. Back means: committed outputs of the new
process in every partition.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

from bench.events import Event, Shape, events
from bench.input import write
from bench.probe import Receiver, Sender
from bench.results import Recovery
from bench.running import Cluster, Died, Program, Setup

__all__ = ["replayed", "run"]

_PARTITIONS = 4
_TRICKLE = 2_000
_PATIENCE = 180.0


def _each_key_once(shape: Shape) -> Iterator[Event]:
    """The events of the shape, the n-th under the n-th key."""
    for number, (_, value, timestamp) in enumerate(events(shape)):
        yield b"user-%d" % (number % shape.keys), value, timestamp


def run(
    cluster: Cluster, command: Sequence[str], setup: Setup, keys: int, says_replayed: str, before_kill: float = 5.3
) -> Recovery:
    """Raises Died."""
    topics = cluster.topics
    with Program(cluster, command, setup, "") as program:
        source = f"{program.app}-in"
        topics.create(source)
        program.read_from(source)
        write(cluster.broker, source, _each_key_once(Shape(keys, keys)))
        with program.start() as worker:
            deadline = time.monotonic() + _PATIENCE
            while sum(offset for (topic, _), offset in topics.committed(program.app).items() if topic == source) < keys:
                worker.check()
                if time.monotonic() > deadline:
                    raise Died(f"did not read the {keys} keys:\n{program.log.read_text()[-2000:]}")
                time.sleep(0.2)
            trickle = Sender(cluster.broker, source, _each_key_once(Shape(10**9, keys, seed=2)), _TRICKLE)
            with trickle:
                time.sleep(before_kill)
                worker.check()
                worker.kill()
                old_log = len(program.log.read_bytes())
                # What is below these ends is from before, whether it was committed or is going to be aborted.
                ends = topics.ends(program.output, _PARTITIONS)
                begin = time.monotonic()
                with program.start() as again, Receiver(cluster.broker, program.output, ends) as receiver:
                    back: dict[int, float] = {}
                    while len(back) < _PARTITIONS:
                        again.check()
                        if time.monotonic() - begin > _PATIENCE:
                            raise Died(f"not back after {_PATIENCE:.0f} s:\n{program.log.read_text()[-2000:]}")
                        for at, partition, _, _, _ in receiver.receive(0.05):
                            back.setdefault(partition, at - begin)
                    time.sleep(1.0)  # for the last words on what was replayed
        found = replayed(program.log.read_bytes()[old_log:].decode(errors="replace"), says_replayed)
    return Recovery(keys, min(back.values()), max(back.values()), found)


def replayed(log: str, pattern: str) -> int | None:
    """The sum of the numbers that the pattern finds in what the new process has written; None when it finds none."""
    found = [int(number) for number in re.findall(pattern, log)]
    return sum(found) if found else None
