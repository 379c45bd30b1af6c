"""Tests of replays that fail: they take too long, or the store is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tidemill.engine.errors import StateUnusable
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.restore.opening import Ready
from tidemill.state.rocks import RocksStore

from .test_recovery import HOUR, TASK, Kafka, Process, content, deleted_meanwhile


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """Has opened the task, and stopped."""
    kafka = Kafka()
    kafka.put(b"a", b"1")
    kafka.put(b"b", b"1")
    process = Process(kafka, tmp_path / "state")
    process.opened().close()
    process.end()
    return process


def test_a_copy_that_nothing_was_written_to_is_not_decided_again(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """One offset before the end, as each is after its own commit: the marker."""
    process.kafka.end += 1
    process.clock.advance(25 * HOUR)
    process.begin()
    process.follow(8)
    assert "deciding again" not in caplog.text
    assert content(process.opened()) == {b"a", b"b"}


def test_a_restore_that_takes_longer_than_deletions_are_kept_begins_again(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """It has read "a", which is deleted, and whose tombstone expires before the replay reaches it."""
    shutil.rmtree(process.path)
    process.begin()
    whole, poll = process.kafka.poll, process.recovery._replay._reader.poll
    process.kafka.put(b"c", b"1")

    def subtopology(limit: int, timeout: float) -> Polled:
        rows, process.kafka.rows = process.kafka.rows, process.kafka.rows[:1]
        found = whole(limit, timeout)
        process.kafka.rows = rows
        process.kafka.at = dict.fromkeys(process.kafka.at, 1)
        return Polled(found.batches, {})

    process.recovery._replay._reader.poll = subtopology
    process.recovery.open({TASK: 1})
    process.recovery.standby([])
    process.recovery._step()
    assert not process.recovery.finished()
    process.recovery._replay._reader.poll = poll
    deleted_meanwhile(process, 25 * HOUR)
    for _ in range(6):
        process.recovery._step()
    [ready] = process.recovery.finished()
    assert isinstance(ready, Ready)
    assert content(ready) == {b"b", b"c", b"d"}
    assert "takes too long: it was last complete 25 hours ago" in caplog.text


@pytest.mark.parametrize(
    ("standby", "doing"), [(False, "apply"), (True, "apply"), (False, "flush"), (False, "clear"), (True, "clear")]
)
def test_damage_that_is_found_in_a_replay_costs_the_stores_of_that_task(
    process: Process, standby: bool, doing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process.begin()
    process.kafka.put(b"c", b"1")
    if doing == "clear":
        process.kafka.put(b"d", b"1")
        process.kafka.begin = 3
        process.kafka.rows = process.kafka.rows[3:]
    left = {b"d"} if doing == "clear" else {b"a", b"b", b"c"}
    real, met = getattr(RocksStore, doing), list[RocksStore]()

    def damaged(self: RocksStore, *args: Any, **named: Any) -> None:
        if not met:
            met.append(self)
            self._fail("written", Exception("Corruption: block checksum mismatch"))
        real(self, *args, **named)

    monkeypatch.setattr(RocksStore, doing, damaged)
    if standby:
        process.follow(8)
    assert content(process.opened(8)) == left
    assert met
    assert "block checksum mismatch; wiping it and restoring it from its changelog" in caplog.text
    process.end()
    process.begin()
    assert content(process.opened()) == left


def test_a_full_disk_ends_the_process(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    process.begin()
    process.kafka.put(b"c", b"1")

    def full(self: RocksStore, *_: Any, **__: Any) -> None:
        self._fail("written", Exception("IO error: No space left on device: While appending to file"))

    monkeypatch.setattr(RocksStore, "apply", full)
    with pytest.raises(StateUnusable, match="the disk is full"):
        process.opened()
