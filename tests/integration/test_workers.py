"""Several workers of an application under a supervisor, on a real broker."""

from __future__ import annotations

import os
import re
import signal
import urllib.error
import urllib.request

import pytest

from tests.brokers import client

from .eos import check, feed, read
from .stage import Stage

pytestmark = pytest.mark.timeout(150)


def pids(log: str) -> dict[int, list[int]]:
    """Return all pids of each worker."""
    found: dict[int, list[int]] = {}
    for number, pid in re.findall(r"worker (\d): started \(pid (\d+)\)", log):
        found.setdefault(int(number), []).append(int(pid))
    return found


def is_ready(url: str) -> bool:
    """Return whether all workers are ready, according to the supervisor."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        error.close()
        return False


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_duplicated(stage: Stage) -> None:
    stage.topics("data", "echo", "min", "sum", partitions=4)
    program = stage.program("echo_min_sum.py", workers=2, web=0, commit_interval="200ms", session_timeout="10s")
    with feed.Feed(stage.broker, stage.name("data"), rate=500, seed=1, keys=50):
        life = program.start()
        url = life.wait_for(r"metrics and health of all workers at (http://[0-9.:]+)", 30)[1]
        client.wait_for(lambda: is_ready(url), 60, "both workers to be ready")
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        for number in range(2):
            assert f'tidemill_worker_up{{worker="{number}"}} 1.0' in metrics
            assert f'tidemill_joined{{worker="{number}"}} 1.0' in metrics
        stage.wait_for_rows("echo", 500, 60)
        assert len(client.members(stage.broker, stage.app_id)) == 2
        os.kill(pids(life.log)[1][0], signal.SIGKILL)
        life.wait_for(r"worker 1 was killed by SIGKILL; restarting it now", 10)
        client.wait_for(lambda: len(pids(life.log)[1]) == 2, 10, "worker 1 to be started again")
        before = len(stage.read("echo"))
        stage.wait_for_rows("echo", before + 500, 60)
    stage.wait_until_committed("data", 60)
    assert life.stop() == 0, life.log
    assert len(pids(life.log)[0]) == 1, "the other worker was not affected"
    fed = read.rows(stage.broker, stage.name("data"), bytes.decode, feed.decode)
    echo = read.rows(stage.broker, stage.name("echo"), bytes.decode, feed.decode)
    total = read.rows(stage.broker, stage.name("sum"), bytes.decode, feed.decode)
    assert check.exactly_once("echo", fed, echo) == []
    assert check.exactly_once("sum", check.running(fed, check.total), total) == []
    assert client.members(stage.broker, stage.app_id) == [], "both have left the group"
