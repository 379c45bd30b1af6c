"""Workers that are killed, scaled, and restarted one after the other, on a real broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from tests.brokers import client
from tests.support.patience import PATIENCE
from tidemill.engine.group.inspect import GroupInspector

from .eos import check, feed, read
from .program import Life
from .stage import Stage
from .test_workers import is_ready, pids

pytestmark = pytest.mark.timeout(240)

PARTITIONS = 6
Property = Callable[[str, object], None]


def owners(stage: Stage) -> dict[str, frozenset[str]]:
    """Return the tasks of each member, by its instance id or its process."""
    options = {"bootstrap.servers": stage.broker}
    view = GroupInspector(options, options).view(stage.app_id)
    return {member.instance_id or member.process: frozenset(member.active) for member in view.members}


def spread(stage: Stage, members: int) -> bool:
    """Return whether all tasks are assigned to this number of members, with no pending move."""
    found = owners(stage)
    tasks = [task for active in found.values() for task in active]
    return len(found) == members and all(found.values()) and len(tasks) == len(set(tasks)) == PARTITIONS


def exact(stage: Stage, *, sums: bool) -> list[str]:
    """Return the violations in the outputs."""
    fed = read.rows(stage.broker, stage.name("data"), bytes.decode, feed.decode)
    echo = read.rows(stage.broker, stage.name("echo"), bytes.decode, feed.decode)
    wrong = check.exactly_once("echo", fed, echo)
    if sums:
        total = read.rows(stage.broker, stage.name("sum"), bytes.decode, feed.decode)
        wrong += check.exactly_once("sum", check.running(fed, check.total), total)
    return wrong


def scale(stage: Stage, *arguments: str) -> str:
    """Run `tidemill scale` as a user does, and return its output."""
    command = [sys.executable, "-m", "tidemill", "scale", stage.app_id, "--state-dir", str(stage.directory / "state")]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=150, cwd=stage.directory, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def taken_over(life: Life, killed_at: float, gone: int) -> float:
    """Return the seconds from a death until all tasks were assigned again, by the log; -1 if not yet.

    A successor of the dead worker has its number. It may join in the same generation and be given tasks at once.
    """
    has: dict[int, int] = {}
    for event in life.events():
        found = re.match(r"generation \d+: (\d+) tasks", str(event["message"]))
        at = datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
        if found is None or event.get("worker") is None or (event["worker"] == gone and at <= killed_at):
            continue
        has[event["worker"]] = int(found[1])
        if at > killed_at and sum(has.values()) == PARTITIONS:
            return at - killed_at
    return -1


@pytest.mark.slow
def test_the_tasks_of_a_killed_worker_are_assigned_again_at_once(stage: Stage, record_property: Property) -> None:
    """The session timeout is 45 s, and only the supervisor can detect the death."""
    stage.topics("data", "echo", partitions=PARTITIONS)
    program = stage.program("unwatched.py", workers=3, web=0)
    with feed.Feed(stage.broker, stage.name("data"), rate=200, seed=1, keys=50):
        life = program.start()
        url = life.wait_for(r"metrics and health of all workers at (http://[0-9.:]+)", 30)[1]
        client.wait_for(lambda: is_ready(url) and spread(stage, 3), 60, "all workers to be at work")
        killed_at = datetime.now(timezone.utc).timestamp()
        os.kill(pids(life.log)[1][0], signal.SIGKILL)
        life.wait_for(r"worker 1: removed from the group; its tasks are reassigned", 20)
        client.wait_for(lambda: taken_over(life, killed_at, 1) >= 0, 20, "all tasks to be assigned again")
        seconds = taken_over(life, killed_at, 1)
        record_property("seconds until all tasks were assigned", round(seconds, 3))
        print(f"all tasks were assigned {seconds:.3f} s after the kill")
        assert seconds < 10 * PATIENCE
        before = len(stage.read("echo"))
        stage.wait_for_rows("echo", before + 500, 60)
    stage.wait_until_committed("data", 60)
    assert life.stop() == 0, life.log
    assert exact(stage, sums=False) == []


@pytest.mark.slow
def test_scaled_up_and_down_under_load(stage: Stage) -> None:
    stage.topics("data", "echo", "min", "sum", partitions=PARTITIONS)
    program = stage.program("echo_min_sum.py", workers=1, autoscale="1:1", web=0, commit_interval="200ms")
    with feed.Feed(stage.broker, stage.name("data"), rate=300, seed=2, keys=50):
        life = program.start()
        stage.wait_for_rows("echo", 300, 60)
        assert scale(stage, "--autoscale", "off", "--workers", "3").endswith(": 3 workers wanted: 3 ready\n")
        client.wait_for(lambda: spread(stage, 3), 60, "all three to have tasks")
        assert scale(stage, "--workers", "2").endswith(": 2 workers wanted: 2 ready\n")
        client.wait_for(lambda: spread(stage, 2), 5, "two to have all tasks, long before a session times out")
        assert scale(stage, "--workers", "3").endswith(": 3 workers wanted: 3 ready\n")
        before = len(stage.read("echo"))
        stage.wait_for_rows("echo", before + 300, 60)
    stage.wait_until_committed("data", 60)
    assert life.stop() == 0, life.log
    assert exact(stage, sums=True) == []
    assert "Traceback" not in life.log


def longest_gaps(rows: Iterable[client.Row]) -> dict[int, float]:
    """Return the longest time, in s, without a record in a partition, by the clock of the broker."""
    times: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        times[row.partition].append(row.timestamp)
    return {
        partition: max(b - a for a, b in pairwise(found)) / 1000
        for partition, found in ((number, sorted(it)) for number, it in times.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False])
def test_a_rolling_restart(stage: Stage, tmp_path: Path, static: bool, record_property: Property) -> None:
    """Restart three instances in turn by SIGTERM, and wait until each is ready.

    With instance ids nothing moves: while one is down, the tasks of the others run without a gap.
    """
    stage.topics("data", "min", "sum", partitions=PARTITIONS)
    stage.topics("echo", partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
    instances = [
        stage.program(
            "echo_min_sum.py",
            name=f"instance-{number}",
            state_dir=tmp_path / f"state-{number}",
            web=0,
            commit_interval="200ms",
            instance_id=f"instance-{number}" if static else "off",
        )
        for number in range(3)
    ]
    ready = r"metrics and health at (http://[0-9.:]+)"
    with feed.Feed(stage.broker, stage.name("data"), rate=400, seed=3, keys=60):
        lives = [program.start() for program in instances]
        urls = [life.wait_for(ready, 30)[1] for life in lives]
        client.wait_for(lambda: all(map(is_ready, urls)) and spread(stage, 3), 90, "all to be at work")
        stage.wait_for_rows("echo", 400, 60)
        at_first = owners(stage)
        away: dict[int, tuple[int, int]] = {}
        for number, program in enumerate(instances):
            begin = client.end_offsets(stage.broker, stage.name("echo"))
            assert lives[number].stop() == 0, lives[number].log
            lives[number] = program.start()
            url = lives[number].wait_for(ready, 30)[1]
            client.wait_for(lambda url=url: is_ready(url) and spread(stage, 3), 90, "it to be at work again")
            before = len(stage.read("echo"))
            stage.wait_for_rows("echo", before + 200, 60)
            end = client.end_offsets(stage.broker, stage.name("echo"))
            mine = at_first.get(f"instance-{number}", frozenset())
            for partition in range(PARTITIONS):
                if static and f"0_{partition}" not in mine:
                    rows = [
                        row
                        for row in stage.read("echo")
                        if row.partition == partition and begin[partition] <= row.offset < end[partition]
                    ]
                    gap = longest_gaps(rows)[partition]
                    away[number] = max(away.get(number, (0, 0)), (round(gap * 1000), partition))
                    assert gap < 3, f"task 0_{partition} did not run for {gap} s while instance {number} was down"
        if static:
            assert owners(stage) == at_first, "no task has moved"
            record_property("longest gap of a task that stayed, in ms", max(away.values())[0])
            print(f"longest gap of a task that stayed: {max(away.values())[0]} ms")
    stage.wait_until_committed("data", 60)
    assert [life.stop() for life in lives] == [0, 0, 0]
    assert exact(stage, sums=True) == []
