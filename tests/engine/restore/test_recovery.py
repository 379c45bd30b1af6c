"""Tests of recovery: when a store on disk may be reused, whatever fails before that is decided.

The group, the topics and the changelog are scripted fakes; stores are real ones on disk.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest

from tests.support.opening_process import HOUR, PLAN, TASK, Kafka, Process, content, planned
from tidemill.engine.errors import Retryable, StateUnusable
from tidemill.engine.kafka.errors import OffsetGone
from tidemill.engine.restore import replay
from tidemill.engine.restore.opening import Closed
from tidemill.state.store import TOMBSTONES_KEPT_MS, Change, Position, StateError, Store, frame


@pytest.fixture
def kafka() -> Kafka:
    kafka = Kafka()
    kafka.put(b"a", b"1")
    kafka.put(b"b", b"1")
    return kafka


@pytest.fixture
def process(kafka: Kafka, tmp_path: Path) -> Process:
    """Return a process that has opened the task, and stopped."""
    process = Process(kafka, tmp_path / "state")
    assert content(process.opened()) == {b"a", b"b"}
    process.end()
    return process


def deleted_meanwhile(process: Process, away: int) -> None:
    """Delete "a", put "c", and compact the changelog, while the process is down."""
    process.clock.advance(away)
    process.kafka.put(b"a", None)
    process.kafka.put(b"c", b"1")
    process.kafka.put(b"d", b"1")
    process.kafka.compact()


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_a_deletion_that_is_gone_from_the_changelog_is_not_missed(process: Process, fails: int) -> None:
    """However often the decision is retried."""
    deleted_meanwhile(process, 25 * HOUR)
    process.begin()
    process.kafka.fails = fails
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_a_copy_of_a_directory_is_as_old_as_what_was_copied(process: Process) -> None:
    deleted_meanwhile(process, 25 * HOUR)
    shutil.copytree(process.path, process.path.with_name("copy"), copy_function=shutil.copyfile)
    process.path = process.path.with_name("copy")
    process.begin()
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_a_start_that_failed_does_not_renew_the_age_of_a_store(process: Process) -> None:
    deleted_meanwhile(process, 25 * HOUR)
    process.begin()
    process.kafka.fails = 100
    process.recovery.open({TASK: 1})
    for _ in range(3):
        process.recovery._step()
    process.end()
    process.kafka.fails = 0
    process.begin()
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_deletions_are_kept_for_as_long_as_the_changelog_is_set_to(process: Process) -> None:
    process.kafka.kept = 100
    deleted_meanwhile(process, 1_000)
    process.begin()
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_a_store_that_nothing_was_written_to_is_not_old(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """Only the marker of the last commit follows."""
    caplog.set_level(logging.INFO)
    process.kafka.end += 1
    process.clock.advance(72 * HOUR)
    process.begin()
    assert content(process.opened()) == {b"a", b"b"}
    assert "0 changelog records replayed" in caplog.text
    process.kafka.put(b"c", b"1")
    process.kafka.put(b"d", b"1")
    process.clock.advance(2 * HOUR)  # the previous start has completed it
    process.end()
    process.begin()
    caplog.clear()
    assert content(process.opened()) == {b"a", b"b", b"c", b"d"}
    assert "2 changelog records replayed" in caplog.text


def test_a_store_of_an_earlier_version_is_used_only_when_it_misses_nothing(process: Process) -> None:
    process.begin()
    store = process.stores.open(TASK, PLAN.subtopology(TASK))["rocksdb"]
    store.clear("n")
    store.apply([Change("n", b"a", frame(b"1")), Change("n", b"x", frame(b"1"))], Position({"n": 2}))
    store.close()
    assert content(process.opened()) == {b"a", b"x"}
    process.end()
    process.begin()
    store = process.stores.open(TASK, PLAN.subtopology(TASK))["rocksdb"]
    store.clear("n")
    store.apply([Change("n", b"a", frame(b"1")), Change("n", b"x", frame(b"1"))], Position({"n": 2}))
    store.close()
    deleted_meanwhile(process, 0)
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_stores_that_the_task_does_not_have_are_removed(process: Process) -> None:
    """Directories are named by numbers of sub-topologies, and a new step may shift these."""
    other = planned("other")
    process.begin(other)
    assert content(process.opened(), "other") == {b"a", b"b"}
    process.end()
    process.begin()
    store = process.stores.open(TASK, other.subtopology(TASK))["rocksdb"]
    assert list(store.scan("n", b"", None)) == []
    assert "n" not in store.position().changelogs
    store.close()


@pytest.mark.parametrize("away", [25 * HOUR, 1_000])
def test_a_copy_whose_process_was_paused_is_checked_again(process: Process, away: int) -> None:
    process.begin()
    process.follow()
    deleted_meanwhile(process, away)
    for _ in range(4):
        process.recovery._step()
    found = content(process.opened())
    assert found == ({b"b", b"c", b"d"} if away > TOMBSTONES_KEPT_MS else {b"a", b"b", b"c", b"d"})


def test_a_copy_that_is_read_all_the_time_is_never_old(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    process.begin()
    process.follow()
    caplog.set_level(logging.INFO)
    for hour in range(72):
        process.clock.advance(HOUR)
        if hour % 10 == 0:
            process.kafka.put(b"h%d" % hour, b"1")
        process.recovery._step()
        process.recovery._step()
    assert "deciding again" not in caplog.text
    assert len(content(process.opened())) == 10


@pytest.mark.parametrize("standby", [True, False])
@pytest.mark.parametrize("failure", [OffsetGone("offset 2 is gone", "app-n-changelog"), Retryable("no broker answers")])
def test_a_changelog_that_has_lost_records_is_decided_again(
    process: Process, failure: Exception, standby: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The process continues, and nothing is missing that other partitions had delivered."""
    process.begin()
    if standby:
        process.follow()
    process.kafka.put(b"c", b"1")
    process.kafka.put(b"d", b"1")
    process.kafka.raises.append(failure)
    if standby:
        for _ in range(4):
            process.recovery._step()
    assert content(process.opened(8)) == {b"a", b"b", b"c", b"d"}
    assert "determining the starts of the restores again" in caplog.text


def test_a_copy_of_a_changelog_that_is_shorter_now_begins_again(process: Process) -> None:
    process.begin()
    process.follow()
    process.kafka.rows.clear()
    process.kafka.end = 0
    process.kafka.put(b"z", b"1")
    process.clock.advance(replay.MEASURE_MS)
    for _ in range(4):
        process.recovery._step()
    assert content(process.opened()) == {b"z"}


def test_an_error_while_closing_a_store_is_logged(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """For example when the disk is full: the main thread raises it, and this thread can only log it."""
    process.begin()
    process.follow()
    opening = process.recovery._openings[TASK]
    store = opening.stores["rocksdb"]

    def close() -> None:
        raise StateError("it cannot be closed: the disk is full")

    def apply(changes: Iterable[Change], position: Position) -> None:
        raise StateError("it cannot be written: the disk is full")

    broken = cast("Store", type("Broken", (), {"close": staticmethod(close), "apply": staticmethod(apply)})())
    opening.stores = {"rocksdb": broken}
    for cursor in opening.cursors:
        cursor.into = broken
    process.kafka.put(b"c", b"1")
    process.recovery.run(lambda _seconds: None)
    with pytest.raises(StateUnusable, match="cannot be written: the disk is full"):
        process.recovery.finished()
    assert "cannot be closed: the disk is full; missing changes will be restored from the changelogs" in caplog.text
    store.close()


def test_an_unexpected_error_is_raised_in_the_main_thread(process: Process) -> None:
    process.begin()
    process.follow()
    process.kafka.raises.append(ZeroDivisionError("a bug"))
    process.recovery.run(lambda _seconds: None)
    with pytest.raises(ZeroDivisionError):
        process.recovery.finished()
    process.recovery.cancel({TASK: 1})
    assert Closed(TASK, 1) not in process.recovery.finished()
