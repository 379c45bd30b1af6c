"""Savepoints of a running application: forks and restores continue from them without loss or duplicates.

The program has repartitions in sequence and in a cycle, windows, joins, timers and a store in memory
(`programs/many_hops.py`). Commands and processes are killed at every stage.
"""

from __future__ import annotations

import time

import pytest

from tidemill.engine.failpoints import VARIABLE

from .hops import KILLED, PARTITIONS, READY, Hops, expected
from .program import Life, Program
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def judge(hops: Hops, made: int, topic: str, before: str) -> None:
    """Check that the results before and after a savepoint together are those of an uninterrupted application."""
    original, found = hops.final(before), hops.final(topic)
    wrong = {place: (found.get(place), value) for place, value in expected(made).items() if found.get(place) != value}
    assert not wrong
    different = {place: (value, original.get(place)) for place, value in found.items() if original.get(place) != value}
    assert not different
    again = hops.pairs(topic)
    assert len(again) == len(set(again))
    assert {step for step, _ in found} == {"count", "total", "win", "digits", "pairs", "priced", "quiet"}


def stop(*lives: Life) -> None:
    for life in lives:
        life.child.terminate()
    assert [life.exit(40) for life in lives] == [0] * len(lives)


@pytest.mark.timeout(300)
def test_a_fork_continues_like_the_application(stage: Stage) -> None:
    hops, app, new = Hops(stage), stage.app_id, f"{stage.app_id}-fork"
    one, two = hops.instance("one", app, "results"), hops.instance("two", app, "results")
    first, second = one.start(), two.start()
    for life in (first, second):
        life.wait_for(READY, 60)
    # A command that is killed while the tasks are held, and before the manifest is written: nothing is listed, and the
    # application continues.
    for nth in (1, 3):
        hops.killed("create", "half", failpoint=f"during-savepoint:{nth}")
    assert hops.done("list") == []
    # A process that is killed while it holds its tasks: the savepoint is taken without it.
    second.kill()
    second = start_armed(two, "during-cut:2")
    second.wait_for(READY, 60)
    made = hops.done("create", "kept")
    assert made["tasks"] == 6 * PARTITIONS
    assert second.exit(10) == KILLED
    second = two.start()
    second.wait_for(READY, 60)
    named = hops.done("show", "kept")
    # The interrupted fork; it has its own topics, and does not start while it is incomplete.
    assert hops.done("fork", "kept", "--as", new, "--dry-run")["done"] is False
    for nth in (2, 7):
        hops.killed("fork", "kept", "--as", new, failpoint=f"during-refill:{nth}")
    fork = hops.instance("fork", new, "forked")
    refused = fork.start()
    assert refused.exit(60) == 3
    assert "has not been written completely" in refused.log
    assert hops.done("fork", "kept", "--as", new)["records"] > 0
    third = fork.start()
    third.wait_for(READY, 60)
    other = hops.instance("fork-2", new, "forked").start()
    other.wait_for(READY, 60)
    other.kill()
    other = hops.instance("fork-2", new, "forked").start()
    count = hops.input.stop()
    hops.settle(app)
    hops.settle(new)
    judge(hops, count, "forked", "results")
    late = hops.unread(named)
    assert late
    assert {f"j{value // 2}" for value in late} <= set(hops.pairs("forked"))
    stop(first, second, third, other)


@pytest.mark.timeout(300)
def test_an_application_is_restored_to_a_savepoint(stage: Stage) -> None:
    hops, app = Hops(stage), stage.app_id
    one, two = hops.instance("one", app, "results"), hops.instance("two", app, "results")
    lives = [one.start(), two.start()]
    for life in lives:
        life.wait_for(READY, 60)
    time.sleep(3)
    hops.done("create", "kept")
    refused = hops.command("restore", "kept", "--yes")
    assert refused.returncode == 2
    assert "is running: 2 members in its group" in refused.stderr
    count = hops.input.stop()
    hops.settle(app)
    stop(*lives)
    # Their state directories are ahead now, and are kept.
    for nth in (1, 2, 8):
        hops.killed("restore", "kept", "--yes", failpoint=f"during-refill:{nth}")
    half = one.start()
    assert half.exit(60) == 3
    assert "has not been written completely" in half.log
    assert hops.done("restore", "kept")["done"] is True
    lives = [hops.instance(name, app, "restored").start() for name in ("one", "two")]
    hops.settle(app)
    judge(hops, count, "restored", "results")
    stop(*lives)


def start_armed(program: Program, failpoint: str) -> Life:
    """Start a process that is killed at a failpoint."""
    program.variables[VARIABLE] = failpoint
    life = program.start()
    del program.variables[VARIABLE]
    return life
