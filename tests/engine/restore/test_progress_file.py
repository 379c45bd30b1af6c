"""The progress of restores, as another process reads it from the state directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.restore.opening import Progress
from tidemill.engine.restore.progress_file import NAME, ProgressFile, read_progress
from tidemill.state.directory import scratch_in

TASK = TaskId(0, 1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shown(tmp_path: Path, clock: ManualClock) -> ProgressFile:
    return ProgressFile(scratch_in(tmp_path, NAME), clock)


def test_rate_and_time_left_are_those_since_the_restore_began(
    tmp_path: Path, clock: ManualClock, shown: ProgressFile
) -> None:
    shown.update([Progress(TASK, 0, 1_000_000)])
    [found] = read_progress(tmp_path, clock.now())
    assert found.seconds_left is None
    clock.advance(4_000)
    shown.update([Progress(TASK, 200_000, 1_000_000)])
    [found] = read_progress(tmp_path, clock.now())
    assert (found.records_per_second, found.seconds_left) == (50_000, 16)
    assert found.line() == "200,000 of 1,000,000 changelog records, 50,000/s, about 16 s to go"


def test_a_download_has_a_rate_of_its_own(tmp_path: Path, clock: ManualClock, shown: ProgressFile) -> None:
    shown.update([Progress(TASK, 0, 0, bytes_left=50_000_000)])
    clock.advance(2_000)
    shown.update([Progress(TASK, 0, 0, bytes_left=10_000_000)])
    [found] = read_progress(tmp_path, clock.now())
    assert found.line() == "10,000,000 bytes of its snapshot to go, 20,000,000/s, about 0 s to go"
    clock.advance(2_000)
    shown.update([Progress(TASK, 0, 30_000)])
    clock.advance(1_000)
    shown.update([Progress(TASK, 10_000, 30_000)])
    [found] = read_progress(tmp_path, clock.now())
    assert (found.bytes_left, found.records_per_second, found.seconds_left) == (0, 10_000, 2)


def test_it_is_written_once_a_second(tmp_path: Path, clock: ManualClock, shown: ProgressFile) -> None:
    shown.update([Progress(TASK, 0, 100)])
    clock.advance(900)
    shown.update([Progress(TASK, 50, 100)])
    [found] = read_progress(tmp_path, clock.now())
    assert found.records_done == 0


def test_nothing_is_shown_when_all_is_restored_or_the_process_is_gone(
    tmp_path: Path, clock: ManualClock, shown: ProgressFile
) -> None:
    assert read_progress(tmp_path, clock.now()) == []
    shown.update([Progress(TASK, 0, 100)])
    clock.advance(60_000)
    assert read_progress(tmp_path, clock.now()) == []
    shown.update([])
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_costs_nothing(tmp_path: Path, clock: ManualClock) -> None:
    ProgressFile(tmp_path / "none" / "file", clock).update([Progress(TASK, 0, 100)])
