"""Unusable state directories: the program refuses them with an error, or restores what can be restored."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from .eos import disk
from .orders import TOPICS, order, totals
from .program import Program
from .stage import Stage

pytestmark = pytest.mark.timeout(120)

KEYS = [f"key-{number:03d}" for number in range(40)]


def in_words(log: str) -> str:
    return " ".join(log[log.index("error: ") :].split())


def worked(stage: Stage, program: Program, times: int = 1) -> None:
    """Let the program process `times` orders per key, and stop."""
    before = len(stage.read("totals"))
    stage.send("orders", [order("apple", key, amount=2) for _ in range(times) for key in KEYS])
    life = program.start()
    stage.wait_for_rows("totals", before + times * len(KEYS))
    assert life.stop() == 0


def in_total(times: int) -> dict[str, dict[str, int]]:
    return {key: {"count": times, "amount": 2 * times} for key in KEYS}


@pytest.fixture
def program(stage: Stage) -> Program:
    stage.topics(*TOPICS, partitions=2)
    return stage.program("orders.py", commit_interval="100ms")


def database(program: Program) -> Path:
    """Return the directory of one of the program's tasks."""
    return disk.databases(program.directory / "state")[0]


def test_a_second_process_on_a_state_directory_is_refused(stage: Stage, program: Program) -> None:
    first = program.start()
    first.wait_for('"replayed":')
    second = program.start()
    assert second.exit() == 4
    said = in_words(second.log)
    assert str(program.directory / "state") in said
    assert f"process {first.child.pid}" in said
    assert "setting state_dir" in said
    assert "setting worker" in said
    stage.send("orders", [order("apple")])
    stage.wait_for_rows("totals", 1)
    assert first.stop() == 0
    assert program.start().wait_for('"replayed":'), "the lock is released when the process ends"


def test_a_killed_process_leaves_no_lock(stage: Stage, program: Program) -> None:
    first = program.start()
    first.wait_for('"replayed":')
    first.kill()
    second = program.start()
    second.wait_for('"replayed":')
    assert second.stop() == 0


def test_two_applications_may_share_a_state_directory(stage: Stage, program: Program) -> None:
    other = stage.program("orders.py", commit_interval="100ms", app_id=f"{stage.app_id}-other", name="other")
    stage.send("orders", [order("apple", key) for key in KEYS])
    lives = [program.start(), other.start()]
    stage.wait_for_rows("totals", 2 * len(KEYS))
    assert [life.stop() for life in lives] == [0, 0]


def test_the_directory_of_another_application_is_refused(stage: Stage, program: Program) -> None:
    worked(stage, program)
    root = program.directory / "state"
    other = f"{stage.app_id}-other"
    shutil.copytree(root / stage.app_id, root / other)
    life = stage.program("orders.py", app_id=other, name="other").start()
    assert life.exit() == 4
    said = in_words(life.log)
    assert str(root / other) in said
    assert f"application {stage.app_id!r}" in said
    assert repr(other) in said
    assert "name another one with the setting state_dir" in said


def test_a_directory_of_a_newer_format_is_refused(stage: Stage, program: Program) -> None:
    worked(stage, program)
    marks = [path for path in (program.directory / "state").rglob("*.json") if '"format":1' in path.read_text()]
    assert marks, "a file contains the format of the directory"
    for mark in marks:
        mark.write_text(mark.read_text().replace('"format":1', '"format":99'))
    life = program.start()
    assert life.exit() == 4
    said = in_words(life.log)
    assert "format 99" in said
    assert "later version" in said
    assert "upgrade" in said
    assert str(program.directory / "state") in said


@pytest.mark.parametrize("damage", ["CURRENT", "MANIFEST", "tables", "missing tables"])
def test_a_corrupted_store_is_wiped_and_restored(stage: Stage, program: Program, damage: str) -> None:
    worked(stage, program, times=3)
    for path in disk.databases(program.directory / "state"):
        files = list(path.glob({"CURRENT": "CURRENT", "MANIFEST": "MANIFEST-*"}.get(damage, "*.sst")))
        assert files
        for file in files:
            if damage == "missing tables":
                file.unlink()
            else:
                size = file.stat().st_size
                file.write_bytes(os.urandom(size))
    worked(stage, program, times=1)
    log = program.lives[-1].log
    assert "restor" in log
    assert '"warning"' in log
    assert str(database(program)) in log
    assert totals(stage) == in_total(4)


def test_damage_that_is_only_detected_by_reading_is_repaired_too(stage: Stage, program: Program) -> None:
    keys = [random.randbytes(20).hex() for _ in range(4000)]
    stage.send("orders", [order("apple", key, amount=2) for key in keys])
    life = program.start()
    stage.wait_for_rows("totals", len(keys))
    assert life.stop() == 0
    for path in disk.databases(program.directory / "state"):
        tables = sorted(path.glob("*.sst"), key=lambda file: file.stat().st_size)
        content = tables[-1].read_bytes()
        middle = len(content) // 2
        assert middle > 20_000, "there is more than one block"
        tables[-1].write_bytes(content[:middle] + random.randbytes(64) + content[middle + 64 :])
    stage.send("orders", [order("beet", key, amount=3) for key in keys])
    life = program.start()
    stage.wait_for_rows("totals", 2 * len(keys), 60)
    assert life.stop() == 0
    assert "checksum" in life.log
    assert totals(stage) == {key: {"count": 2, "amount": 5} for key in keys}
    assert len(stage.read("totals")) == 2 * len(keys)


def test_a_lost_directory_is_restored_completely(stage: Stage, program: Program) -> None:
    worked(stage, program, times=3)
    shutil.rmtree(program.directory / "state")
    worked(stage, program)
    replayed = sum(event["replayed"] for event in program.lives[-1].events() if "replayed" in event)
    assert replayed >= len(KEYS)
    assert totals(stage) == in_total(4)


def test_a_directory_restored_from_an_old_copy_is_brought_up_to_date(stage: Stage, program: Program) -> None:
    root = program.directory / "state"
    worked(stage, program)
    shutil.copytree(root, program.directory / "copy")
    worked(stage, program, times=2)
    shutil.rmtree(root)
    shutil.copytree(program.directory / "copy", root)
    worked(stage, program)
    assert totals(stage) == in_total(4)


def test_a_file_in_place_of_the_directory_is_refused(stage: Stage, program: Program) -> None:
    (program.directory / "state").write_text("I was here first")
    life = program.start()
    assert life.exit() == 4
    said = in_words(life.log)
    assert str(program.directory / "state") in said
    assert "directory" in said
    assert "state_dir" in said or "--state-dir" in said
    assert (program.directory / "state").read_text() == "I was here first"


@cache
def own_mounts() -> Sequence[str]:
    """Return a command in a private mount namespace; skip the test if this is not possible."""
    for command in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        if (
            shutil.which("unshare")
            and subprocess.run(
                [*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
            ).returncode
            == 0
        ):
            return command
    pytest.skip("private mounts are not possible on this machine")


def mounted(directory: Path, options: str) -> Sequence[str]:
    """Return a command prefix that mounts an in-memory file system at a directory, visible to that command only."""
    directory.mkdir(exist_ok=True)
    return [*own_mounts(), "sh", "-c", f'mount -t tmpfs -o {options} none "$0" && exec "$@"', str(directory)]


def test_a_directory_that_cannot_be_written_is_refused(stage: Stage, program: Program) -> None:
    root = program.directory / "state"
    life = program.start(prefix=mounted(root, "ro"))
    assert life.exit() == 4
    said = in_words(life.log)
    assert str(root) in said
    assert "Read-only file system" in said
    assert "state_dir" in said or "--state-dir" in said


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_full_disk_stops_the_program_which_continues_with_free_space(
    stage: Stage, program: Program, guarantee: str
) -> None:
    root = program.directory / "state"
    program.settings |= {"guarantee": guarantee, "state_memory": "8MiB"}
    keys: list[str] = []
    life = program.start(prefix=mounted(root, "size=2m"))
    life.wait_for('"replayed":')
    deadline = time.monotonic() + 60
    while life.alive():
        assert time.monotonic() < deadline, "the disk is not full"
        keys += (more := [random.randbytes(500).hex() for _ in range(500)])
        stage.send("orders", [order("apple", key, amount=2) for key in more])
    assert life.exit() == 4
    said = in_words(life.log)
    assert str(root) in said
    assert "the disk is full; make room" in said
    assert "state_dir" in said
    stage.send("orders", [order("beet", key, amount=3) for key in keys])
    life = program.start()
    stage.wait_until_committed("orders", 60)
    assert life.stop() == 0
    assert totals(stage) == {key: {"count": 2, "amount": 5} for key in keys}
    if guarantee == "exactly_once":
        assert len(stage.read("totals")) == 2 * len(keys)
