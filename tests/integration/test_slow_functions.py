"""Slow functions, many partitions and a long backlog, with default settings."""

from __future__ import annotations

import os
import re
import time

import psutil
import pytest

from tests.brokers.client import Row

from .stage import Stage

PARTITIONS = 200
LEAST, MOST = 8, 64
"""Two values of `max_buffer_bytes` in MiB; the second is the default."""


@pytest.mark.parametrize(("size", "records"), [(12, 1_000_000), (20_000, 12_000)], ids=["12 bytes", "20 kB"])
def test_a_slow_program_commits_keeps_its_membership_and_limits_its_memory(
    stage: Stage, size: int, records: int
) -> None:
    """A larger buffer increases the memory of a process by no more than the setting."""
    stage.topics("in", "out", partitions=PARTITIONS)
    value = os.urandom(size)
    stage.send("in", (Row(b"%d" % n, value, n % PARTITIONS) for n in range(records)))
    small = stage.program(
        "slow.py", name="small", app_id=f"{stage.app_id}-small", max_buffer_bytes=f"{LEAST}MiB"
    ).start()
    large = stage.program("slow.py", name="large", max_buffer_bytes=f"{MOST}MiB").start()
    for life in (small, large):
        life.wait_for(r"generation \d+: 200 tasks")
    grown = 0
    for _ in range(25):
        time.sleep(1)
        grown = max(grown, rss(large.child.pid) - rss(small.child.pid))
    assert grown < 1.3 * (MOST - LEAST) * 2**20
    assert sum(stage.committed("in").values()) > 50, "it commits"
    assert len(set(re.findall(r"generation (\d+): \d+ tasks", large.log))) == 1, "it stays a member"
    assert [large.stop(), small.stop()] == [0, 0]


def rss(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss
