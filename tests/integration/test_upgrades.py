"""Rolling upgrades of a program, one process at a time, with continuous input."""

from __future__ import annotations

import struct

import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .program import Life, Program
from .stage import Stage

pytestmark = pytest.mark.timeout(180)

PARTITIONS = 4


class Feed:
    """Sends rounds of one record per key for eight keys, and knows the expected counts."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.rounds = 0

    def round(self, topic: str = "data") -> None:
        self.rounds += topic == "data"
        self.stage.send(topic, [Row(b"k%d" % n, b"v", n % PARTITIONS) for n in range(8)])

    def counted(self) -> None:
        """Wait until everything is counted once."""
        rows = self.stage.wait_for_rows("counts", 8 * self.rounds, 60)
        newest = {row.key: struct.unpack(">q", row.value or b"")[0] for row in rows}
        assert newest == {b"k%d" % n: self.rounds for n in range(8)}
        assert len(rows) == 8 * self.rounds


def test_versions_that_are_rolled_out_and_back(stage: Stage) -> None:
    stage.topics("data", "counts", "more", "shouts", partitions=PARTITIONS)
    feed = Feed(stage)

    def program(name: str) -> Program:
        return stage.program("versions.py", name=name, state_dir=stage.directory / name, commit_interval="100ms")

    one, other = program("one"), program("other")

    def start(which: Program, version: int) -> Life:
        which.variables["VERSION"] = str(version)
        life = which.start()
        life.wait_for(r"generation \d+: \d+ tasks")
        feed.round()
        return life

    first, second = start(one, 1), start(other, 1)
    feed.counted()

    # One more topic: the new version reads it, while the old one runs the tasks that it has in common.
    assert first.stop() == 0
    first = start(one, 2)
    feed.round("more")
    stage.wait_for_rows("shouts", 8)
    feed.counted()

    # A rollback in between: tasks that no member can run are named, and resume when a member joins that can.
    assert first.stop() == 0
    name = stage.name("more")
    second.wait_for(rf"no living member can run the tasks that read {name} \(0, 1, 2, 3\): they wait for a process")
    feed.round("more")
    feed.round()
    feed.counted()
    first = start(one, 2)
    stage.wait_for_rows("shouts", 16)

    # A changed sub-topology: the old version keeps its tasks until its last member has left.
    assert first.stop() == 0
    first = start(one, 3)
    feed.round()
    feed.counted()
    assert second.stop() == 0
    second = start(other, 3)
    feed.round()
    feed.round("more")
    feed.counted()
    assert len(stage.wait_for_rows("shouts", 24)) == 24

    client.wait_for(lambda: '"task":"0_' in second.log, 30, "the last to be started to have some of the counting")
    assert [first.stop(), second.stop()] == [0, 0]
