"""Topics that are deleted or recreated during a run: reported, with a remedy that works."""

from __future__ import annotations

import struct
import time

import pytest

from tests.brokers import client
from tests.brokers.client import Row
from tests.support.patience import PATIENCE

from .stage import Stage
from .test_admin import tidemill
from .test_bad_topics import in_words

pytestmark = pytest.mark.timeout(150)


def numbers(first: int, count: int) -> list[Row]:
    return [Row(b"k", struct.pack(">q", number), 0) for number in range(first, first + count)]


def seen(stage: Stage, count: int) -> list[int]:
    return [struct.unpack(">q", row.value or b"")[0] for row in stage.wait_for_rows("last", count)]


def test_a_recreated_input_is_accepted_by_a_command(stage: Stage) -> None:
    """A program with state starts again as ever until then; afterwards it has read all of both topics, each once."""
    stage.topics("data", "max", "count", "last")
    program = stage.program("max_count.py", commit_interval="100ms")
    for first in (0, 10):
        life = program.start()
        stage.send("data", numbers(first, 10))
        assert seen(stage, first + 10) == list(range(first + 10))
        stage.wait_until_committed("data")
        assert life.stop() == 0
    life = program.start()
    life.wait_for("is ready")
    client.delete_topic(stage.broker, stage.name("data"))
    assert life.exit() == 3
    said = in_words(life.log)
    assert f"the input topic '{stage.name('data')}' (id " in said
    assert f"`tidemill reset {stage.app_id} --topic {stage.name('data')}`" in said

    stage.topics("data")
    stage.send("data", numbers(100, 30))
    reset = tidemill(stage, "reset", stage.app_id, "--topic", stage.name("data"), "--yes")
    assert reset.returncode == 0, reset.stderr
    life = program.start()
    assert seen(stage, 50) == [*range(20), *range(100, 130)]
    assert life.stop() == 0


def test_an_internal_topic_that_is_deleted_during_the_run_ends_the_program_at_once(stage: Stage) -> None:
    stage.topics("data", "max", "count", "last")
    life = stage.program("max_count.py", commit_interval="100ms").start()
    stage.send("data", numbers(0, 10))
    assert seen(stage, 10) == list(range(10))
    [repartition] = [name for name in stage.internal() if name.endswith("-repartition")]
    client.delete_topic(stage.broker, repartition)
    began = time.monotonic()
    stage.send("data", numbers(10, 10))
    assert life.exit(timeout=15) == 3
    assert time.monotonic() - began < 15 * PATIENCE
    said = in_words(life.log)
    assert f"the repartition topic '{repartition}' (id " in said
    assert f"`tidemill reset {stage.app_id}`" in said
