"""Inputs that fall silent: windows close by the wall clock, once, whoever runs the tasks by then."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .stage import Stage

pytestmark = pytest.mark.timeout(120)

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "the", "cat"]
BASE = int(time.time() * 1000) // 10_000 * 10_000 - 3_600_000
"""Where a window begins, an hour ago."""


def said(at: int) -> list[Row]:
    """All words, a ms apart."""
    return [Row(word.encode(), word.encode(), timestamp=BASE + at + number) for number, word in enumerate(WORDS)]


def counts(rows: list[Row]) -> Counter[str]:
    """By word, without the windows in the keys."""
    return Counter({row.key[:-8].decode(): int.from_bytes(row.value, "big") for row in rows if row.key and row.value})


def prepared(stage: Stage) -> None:
    stage.topics("a", "b", "out", partitions=2)
    stage.send("a", said(500))


def test_windows_of_inputs_that_are_quiet_close(stage: Stage) -> None:
    prepared(stage)
    life = stage.program("quiet.py", commit_interval="100ms", variables={"IDLE": "3s"}).start()
    rows = stage.wait_for_rows("out", len(set(WORDS)))
    assert counts(rows) == Counter(WORDS)
    assert time.monotonic() - life.began > 3
    assert life.stop() == 0
    assert len(stage.read("out")) == len(set(WORDS))


def test_a_quiet_input_does_not_hold_up_another(stage: Stage) -> None:
    """Topic b never has anything; words go on to come in topic a, so nothing closes by the wall clock alone."""
    prepared(stage)
    variables = {"IDLE": "3s", "BY_KEY": "yes"}
    life = stage.program("quiet.py", commit_interval="100ms", variables=variables).start()
    last = 500

    def closed() -> list[Row]:
        nonlocal last
        last += 100
        stage.send("a", said(last))
        rows = stage.read("out")
        return rows if len(rows) >= len(set(WORDS)) else []

    rows = client.wait_for(closed, 60, "the first window to close")
    assert {row.timestamp // 10_000 for row in rows} == {BASE // 10_000}, "only the first window closed"
    assert life.stop() == 0


def test_windows_close_once_though_the_process_is_killed(stage: Stage) -> None:
    """The silence before the kill and the time until the restart count, for what was seen went with the offsets."""
    prepared(stage)
    program = stage.program("quiet.py", commit_interval="100ms", variables={"IDLE": "10s"})
    first = program.start()
    first.wait_for("is ready")
    stage.wait_until_committed("a")
    seen = time.monotonic()
    client.wait_for(lambda: repartitioned(stage), 30, "the repartition topic to be read")
    first.kill()
    assert stage.read("out") == []
    second = program.start()
    rows = stage.wait_for_rows("out", len(set(WORDS)), 60)
    assert counts(rows) == Counter(WORDS)
    assert time.monotonic() - seen > 8
    second.kill()
    third = program.start()
    stage.send("a", [Row(b"late", b"late", timestamp=BASE), Row(b"new", b"new", timestamp=BASE + 60_000)])
    stage.wait_until_committed("a")
    rows = stage.wait_for_rows("out", len(set(WORDS)) + 1, 60)
    assert counts(rows) == Counter([*WORDS, "new"]), "no window closed twice, and what was late is not counted"
    assert third.stop() == 0


def repartitioned(stage: Stage) -> bool:
    """True when all that was written to the repartition topic is read, and that is committed."""
    topic = "words-repartition"
    committed = stage.committed(topic)
    return sum(committed.values()) > 0 and all(
        row.offset < committed.get(row.partition, 0) for row in stage.read(topic)
    )
