"""Idle inputs: windows close once, by the wall clock, whichever process runs the tasks by then."""

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
"""The start of a window, an hour ago."""


def said(at: int) -> list[Row]:
    """Return all words, one ms apart."""
    return [Row(word.encode(), word.encode(), timestamp=BASE + at + number) for number, word in enumerate(WORDS)]


def counts(rows: list[Row]) -> Counter[str]:
    """Return counts per word, without the windows in the keys."""
    return Counter({row.key[:-8].decode(): int.from_bytes(row.value, "big") for row in rows if row.key and row.value})


def prepared(stage: Stage) -> None:
    stage.topics("a", "b", "out", partitions=2)
    stage.send("a", said(500))


def test_windows_of_idle_inputs_close(stage: Stage) -> None:
    prepared(stage)
    life = stage.program("quiet.py", commit_interval="100ms", variables={"IDLE": "3s"}).start()
    rows = stage.wait_for_rows("out", len(set(WORDS)))
    assert counts(rows) == Counter(WORDS)
    assert time.monotonic() - life.began > 3
    assert life.stop() == 0
    assert len(stage.read("out")) == len(set(WORDS))


def test_an_idle_input_does_not_block_another(stage: Stage) -> None:
    """Topic b is always empty; topic a continues to have words, so nothing closes by the wall clock alone."""
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
    assert {row.timestamp // 10_000 for row in rows} == {BASE // 10_000}, "only the first window is closed"
    assert life.stop() == 0


def test_windows_close_once_even_if_the_process_is_killed(stage: Stage) -> None:
    """The idle time includes the time before the kill and until the restart, since it is stored with the offsets."""
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
    assert counts(rows) == Counter([*WORDS, "new"]), "no window is closed twice, and late records are not counted"
    assert third.stop() == 0


def repartitioned(stage: Stage) -> bool:
    """Return whether all records of the repartition topic are processed and committed."""
    topic = "words-repartition"
    committed = stage.committed(topic)
    return sum(committed.values()) > 0 and all(
        row.offset < committed.get(row.partition, 0) for row in stage.read(topic)
    )
