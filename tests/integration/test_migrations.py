"""Stored values change their form while processes run, die, and restore from changelogs: each is migrated once."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from typing import Any

import pytest

from tests.brokers.client import Row

from .program import Life, Program
from .stage import Stage

pytestmark = pytest.mark.timeout(180)

PARTITIONS = 4
KEYS = 8


def test_values_are_migrated_once_through_kills_and_restores(stage: Stage) -> None:
    stage.topics("data", "counts", partitions=PARTITIONS)
    rounds = 0

    def program(name: str) -> Program:
        state = stage.directory / name
        times: dict[str, Any] = {"commit_interval": "100ms", "session_timeout": "6s"}
        return stage.program("migrated.py", name=name, state_dir=state, **times)

    one, other = program("one"), program("other")

    def start(which: Program, version: int) -> Life:
        which.variables["VERSION"] = str(version)
        life = which.start()
        life.wait_for(r"generation \d+: \d+ tasks")
        return life

    def feed(some: range = range(KEYS)) -> None:
        stage.send("data", [Row(b"k%d" % n, b"v", n % PARTITIONS) for n in some])

    def counted() -> None:
        """Each key has had each count once, up to the number of rounds."""
        nonlocal rounds
        feed()
        rounds += 1
        rows = stage.wait_for_rows("counts", KEYS * rounds, 60)
        found = sorted((row.key, struct.unpack(">q", row.value or b"")[0]) for row in rows)
        assert found == sorted((b"k%d" % n, count) for n in range(KEYS) for count in range(1, rounds + 1))

    first, second = start(one, 1), start(other, 1)
    counted()
    counted()

    # Rolled out: the old version keeps its tasks until its last process, which is killed, has gone.
    assert first.stop() == 0
    first = start(one, 2)
    counted()
    second.kill()
    counted()

    # The next version restores both forms from changelogs, on a disk that has nothing.
    third = start(program("third"), 3)
    counted()
    first.kill()
    counted()
    third.kill()
    fourth = program("fourth")
    life = start(fourth, 3)
    counted()
    assert life.stop() == 0
    dumped = subprocess.run(
        [sys.executable, "-m", "tidemill", "state", "dump", str(fourth.module), "counts"],
        env=fourth.environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = [json.loads(line)["value"] for line in dumped.stdout.splitlines()]
    assert rows == [{"count": rounds, "migrated": 1}] * KEYS

    # What a later version has written is refused by an earlier one, which does not commit anything.
    late = start(one, 1)
    feed()
    assert late.exit(60) != 0
    assert "migrations, and the program has no migrate= for its step" in late.log
    last = start(fourth, 3)
    rounds += 1
    counted()
    assert last.stop() == 0
