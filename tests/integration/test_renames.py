"""Renamed stateful steps with a rolling upgrade, kills and a rollback: everything is counted once."""

from __future__ import annotations

import struct

import pytest

from tests.brokers.client import Row

from .program import Life, Program
from .stage import Stage

pytestmark = pytest.mark.timeout(180)

PARTITIONS = 4
GROUPS = 8


def test_renamed_steps_keep_their_state(stage: Stage) -> None:
    stage.topics("data", "counts", "parity", partitions=PARTITIONS)
    rounds = 0

    def program(name: str) -> Program:
        return stage.program("renamed.py", name=name, state_dir=stage.directory / name, commit_interval="100ms")

    one, other = program("one"), program("other")

    def start(which: Program, version: int) -> Life:
        which.variables["VERSION"] = str(version)
        life = which.start()
        life.wait_for(r"generation \d+: \d+ tasks")
        feed()
        return life

    def feed() -> None:
        nonlocal rounds
        rounds += 1
        stage.send("data", [Row(b"k%d" % n, b"v%d" % n, n % PARTITIONS) for n in range(GROUPS)])

    def counted() -> None:
        rows = stage.wait_for_rows("counts", GROUPS * rounds, 60)
        assert sorted(struct.unpack(">q", row.value or b"")[0] for row in rows) == sorted(
            number for number in range(1, rounds + 1) for _ in range(GROUPS)
        )
        parity = stage.wait_for_rows("parity", GROUPS * rounds, 60)
        newest: dict[bytes | None, int] = {}
        for row in parity:
            newest[row.key] = max(newest.get(row.key, 0), struct.unpack(">q", row.value or b"")[0])
        assert sum(newest.values()) == GROUPS * rounds

    first, second = start(one, 1), start(other, 1)
    counted()
    internal = sorted(stage.internal())

    # Rolled out: the old version keeps its tasks until its last process, which is killed, has gone.
    assert first.stop() == 0
    first = start(one, 2)
    feed()
    counted()
    second.kill()
    feed()
    counted()
    second = start(other, 2)
    feed()
    counted()
    assert sorted(stage.internal()) == internal, "no topic of the new names"

    # Back to the old version, and forward again on an empty disk.
    assert [first.stop(), second.stop()] == [0, 0]
    second = start(other, 1)
    counted()
    assert second.stop() == 0
    third = start(program("third"), 2)
    counted()
    assert third.stop() == 0
    assert sorted(stage.internal()) == internal

    # Without was= they start empty, which is reported.
    fourth = program("fourth")
    fourth.variables["VERSION"] = "forgotten"
    life = fourth.start()
    life.wait_for(r"will begin empty, and no store of the program has the changelog .*-counts-changelog")
    assert life.stop() == 0
