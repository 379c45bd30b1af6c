"""A step that is removed and added again: the start is refused, and works after what the message says."""

from __future__ import annotations

import re
import shlex
import struct

import pytest

from tests.brokers.client import Row

from .program import Life
from .stage import Stage
from .test_admin import tidemill
from .test_bad_topics import in_words

pytestmark = pytest.mark.timeout(180)

KEYS = 6
PARTITIONS = 2


@pytest.mark.parametrize("empty", [True, False])
def test_a_store_that_was_removed_does_not_come_back_with_old_rows(stage: Stage, empty: bool) -> None:
    stage.topics("data", "copy", "counts", partitions=PARTITIONS)
    program = stage.program("old_rows.py", commit_interval="100ms", state_dir=stage.directory / "state")
    rounds = 0

    def feed() -> None:
        nonlocal rounds
        rounds += 1
        stage.send("data", [Row(b"k%d" % n, b"v", n % PARTITIONS) for n in range(KEYS)])

    def run(version: int) -> Life:
        program.variables["VERSION"] = str(version)
        feed()
        life = program.start()
        stage.wait_for_rows("copy", KEYS * rounds, 60)
        stage.wait_until_committed("data")
        return life

    assert [run(version).stop() for version in (1, 1, 2)] == [0, 0, 0]
    assert len(stage.read("counts")) == 2 * KEYS

    program.variables["VERSION"] = "3"
    life = program.start()
    assert life.exit() == 3
    said = in_words(life.log)
    topic = f"{stage.app_id}-counts-changelog"
    assert re.search(rf"store 'counts' of task 0_\d would begin with old rows: .*'{topic}' has \d records", said)
    commands = [text for text in re.findall(r"`tidemill ([^`]*)`", said) if text.endswith("--empty") == empty]
    done = tidemill(stage, *shlex.split(commands[0]), "--yes")
    assert done.returncode == 0, done.stderr

    expected = [1, 2, 1, 2] if empty else [1, 2, 3, 4]
    for number in (3, 4):
        assert run(3).stop() == 0
        rows = stage.wait_for_rows("counts", number * KEYS, 60)
        counts = sorted(struct.unpack(">q", row.value or b"")[0] for row in rows)
        assert counts == sorted(expected[:number] * KEYS)
