"""Placement of tasks and standbys with large state."""

from __future__ import annotations

import hashlib
import re
import struct
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .program import Life
from .stage import Stage

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

PARTITIONS = 4
KEYS = 300_000


def fill(stage: Stage, keys: int, value: bytes = b"x" * 100) -> None:
    """Write one record per key, key n in partition n modulo 4. Keys are incompressible: a state of 20 MB."""
    stage.topics("data", "counts", partitions=PARTITIONS)
    stage.send("data", (Row(key_of(number), value, number % PARTITIONS) for number in range(keys)))


def key_of(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).hexdigest().encode()


def wait_for_counts(stage: Stage, count: int) -> None:
    """Wait for about this number of results: transaction markers are counted as well."""

    def enough() -> bool:
        return sum(client.end_offsets(stage.broker, stage.name("counts"), committed=True).values()) >= count

    client.wait_for(enough, 120, f"{count} results")


def started(stage: Stage, name: str, **settings: Any) -> Life:
    """Start a process with a separate state directory and metrics."""
    more = {"commit_interval": "100ms", "web": 0, "purge_interval": "1h", **settings}
    return stage.program("keyed.py", name=name, state_dir=stage.directory / name, **more).start()


def figures(life: Life, metric: str) -> dict[str, float]:
    """Return the values of a metric of a process, by labels."""
    url = life.wait_for(r"(http://127\.0\.0\.1:\d+)")[1]
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^{metric}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(figure) for labels, figure in found}


def running(life: Life) -> int:
    return int(figures(life, "tidemill_tasks")['state="running"'])


def copies(life: Life) -> dict[str, float]:
    """Return the lag of the copies in a process, by task."""
    return figures(life, "tidemill_copy_lag_records")


def replays(life: Life) -> dict[str, list[tuple[int, int]]]:
    """Return (replayed changelog records, offsets in its changelogs) of each opening, by task."""
    found: dict[str, list[tuple[int, int]]] = {}
    for event in life.events():
        if "replayed" in event:
            found.setdefault(event["task"], []).append((event["replayed"], event["changelog"]))
    return found


def probe(stage: Stage, name: str, partitions: Iterable[int], timeout: float = 60.0) -> float:
    """Send a record to each of these partitions, and return the seconds until all outputs are committed."""
    began = time.monotonic()
    begins = client.end_offsets(stage.broker, stage.name("counts"), committed=True)
    keys = {b"%s-%d" % (name.encode(), partition) for partition in partitions}
    stage.send("data", [Row(key, b"x", int(key.rpartition(b"-")[2])) for key in sorted(keys)])

    def come() -> bool:
        rows = client.read(stage.broker, stage.name("counts"), start=begins)
        return keys <= {row.key for row in rows}

    client.wait_for(come, timeout, f"the output of {sorted(keys)}")
    return time.monotonic() - began


def wait_for_even(lives: list[Life], timeout: float = 120.0) -> None:
    client.wait_for(lambda: [running(life) for life in lives] == [2, 2], timeout, "two tasks in each process")


@pytest.mark.parametrize("standbys", [0, 1])
def test_the_death_of_a_process(stage: Stage, standbys: int, capsys: pytest.CaptureFixture[str]) -> None:
    fill(stage, KEYS)
    one = started(stage, "one", standbys=standbys)
    wait_for_counts(stage, KEYS)
    other = started(stage, "other", standbys=standbys, acceptable_lag=100)
    wait_for_even([one, other])
    if standbys:
        for life in (one, other):
            client.wait_for(lambda life=life: sorted(copies(life).values()) == [0, 0], 60, "two copies without lag")
    probe(stage, "before", range(PARTITIONS))
    before = {task: len(times) for task, times in replays(other).items()}

    one.kill()
    seconds = probe(stage, "after", range(PARTITIONS))

    taken = {task: times[-1] for task, times in replays(other).items() if len(times) > before.get(task, 0)}
    assert len(taken) == 2
    replayed, whole = (sum(figures) for figures in zip(*taken.values(), strict=True))
    with capsys.disabled():
        print(
            f"\n{standbys} standbys, {KEYS:,} keys: output {seconds:.1f} s after SIGKILL, "
            f"{replayed:,} records replayed of {whole:,}"
        )
    if standbys:
        assert replayed < 1_000, "only records after the last position of the copy are replayed"
    else:
        # The process never ran these tasks, or until they moved away: then it has the state of that time.
        assert replayed <= whole
    assert sum(struct.unpack(">q", row.value or b"")[0] > 1 for row in stage.read("counts")) == 0, "counted twice"
    assert other.stop() == 0


@pytest.mark.parametrize("store", ["rocksdb", "memory"])
def test_a_task_that_moves_runs_where_it_is_until_it_can(stage: Stage, store: str) -> None:
    """A second process joins: its tasks are warmed up first, and no output pauses for longer than two commits. The
    former owner keeps its store as a standby without replaying it. The state is too large to move without a warm-up
    (the limit is one megabyte)."""
    fill(stage, KEYS)
    settings: dict[str, Any] = {
        "standbys": 1,
        "commit_interval": "2s",
        "acceptable_lag": 100,
        "variables": {"STORE": store},
    }
    one = started(stage, "one", **settings)
    wait_for_counts(stage, KEYS)
    other = started(stage, "other", **settings)
    pauses: list[float] = []
    number = 0
    while running(other) < 2:
        number += 1
        pauses.append(probe(stage, f"p{number}", range(PARTITIONS)))
        assert number < 60
    pauses += [probe(stage, f"q{number}", range(PARTITIONS)) for number in range(3)]
    wait_for_even([one, other])
    assert max(pauses) < 2 * 2.0 + 2.0, pauses  # excludes the time that the test itself takes for sending and reading
    moved = replays(other)
    assert len(moved) == 2
    assert all(times[-1][0] <= 1_000 for times in moved.values()), "the copy was complete when the task moved"
    client.wait_for(lambda: sorted(copies(one).values()) == [0, 0], 60, "the former owner to follow")
    assert figures(one, "tidemill_restore_records_total")[""] == 0
    assert "restored from the beginning" not in one.log, "it has released its tasks, but kept their state"
    assert [one.stop(), other.stop()] == [0, 0]
