"""Tests of the state directory: one process at a time, one application only, atomic changes."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tidemill.state.directory import StateDirectory, read_process
from tidemill.state.store import CorruptStore, InUse, NewerFormat, Unusable, WrongOwner

HOUR = 3_600_000
NOBODY = 65_534
"""The user without rights of every Linux."""


@pytest.fixture
def directory(tmp_path):
    with StateDirectory(tmp_path / "app" / "worker-0", "app") as opened:
        yield opened


def grow(directory, task, name="000007.sst", age=0, now=1_000 * HOUR):
    path = directory.task(task)
    path.mkdir(exist_ok=True)
    (path / name).write_bytes(b"x")
    written = (now - age) * 1_000_000
    os.utime(path / name, ns=(written, written))


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path):
    program = f"""
        import sys
        from pathlib import Path
        from tidemill.state.directory import StateDirectory
        directory = StateDirectory(Path({str(tmp_path)!r}), "app")
        print("open", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(InUse, match=f"{tmp_path} is in use by process {first.pid}: stop that process") as refused:
            StateDirectory(tmp_path, "app")
        assert refused.value.pid == first.pid
        first.kill()
        first.wait()
    StateDirectory(tmp_path, "app").close()


def test_nor_can_this_process_open_it_twice_but_it_can_again(tmp_path):
    (tmp_path / "lock").write_text("123456789012\n")
    first = StateDirectory(tmp_path, "app")
    with pytest.raises(InUse) as refused:
        StateDirectory(tmp_path, "app")
    assert refused.value.pid == os.getpid()
    first.close()
    first.close()
    StateDirectory(tmp_path, "app").close()


def test_processes_that_this_one_starts_do_not_keep_the_lock(tmp_path):
    first = StateDirectory(tmp_path, "app")
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
        first.close()
        StateDirectory(tmp_path, "app").close()
        child.communicate(b"\n")


def test_another_application_is_refused_and_the_lock_released(tmp_path):
    StateDirectory(tmp_path, "views").close()
    for _ in range(2):
        with pytest.raises(WrongOwner, match="belongs to application 'views', not to 'clicks'"):
            StateDirectory(tmp_path, "clicks")
    StateDirectory(tmp_path, "views").close()


def test_a_newer_format_is_refused(tmp_path):
    (tmp_path / "about.json").write_bytes(b'{"format":2,"application":"app","more":1}')
    with pytest.raises(NewerFormat, match="has format 2, but this version of Tidemill reads formats up to 1"):
        StateDirectory(tmp_path, "app")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]"])
def test_an_illegible_directory_is_corrupt(tmp_path, content):
    (tmp_path / "about.json").write_bytes(content)
    with pytest.raises(CorruptStore, match=r"about\.json cannot be read: .*; remove "):
        StateDirectory(tmp_path, "app")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "app").write_text("x")
    for path in (tmp_path / "app", tmp_path / "app" / "worker-0"):
        with pytest.raises(Unusable, match=r"cannot be used: .*setting state_dir") as refused:
            StateDirectory(path, "app")
        assert refused.value.reason in ("File exists", "Not a directory")


def test_a_directory_without_the_right_to_write():
    with tempfile.TemporaryDirectory() as name, not_root(Path(name)):
        StateDirectory(Path(name) / "app", "app").close()
        Path(name).chmod(0o500)
        with pytest.raises(Unusable, match="Permission denied"):
            StateDirectory(Path(name) / "other", "other")
        Path(name).chmod(0o700)


@contextmanager
def not_root(path):
    """Own a directory as a user who is not root, who may write anywhere, while entered."""
    root = os.geteuid() == 0
    if root:
        os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_an_error_of_the_operating_system_is_reported(tmp_path, monkeypatch, number):
    def refuse(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unusable, match=f"{tmp_path} cannot be used: {os.strerror(number)}") as refused:
        StateDirectory(tmp_path, "app")
    assert refused.value.reason == os.strerror(number)


def test_a_full_disk_is_said_when_a_process_is_written_down(directory, monkeypatch):
    directory.remember("a" * 32, "m-1")

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Unusable, match="No space left on device"):
        directory.remember("b" * 32, "m-2")
    assert said(read_process(directory.path)) == ("a" * 32, "m-1")


def test_the_next_start_knows_its_former_member_unless_that_has_left(tmp_path):
    with StateDirectory(tmp_path, "app") as directory:
        assert directory.former is None
        directory.remember("a" * 32, "m-1")
        directory.remember("a" * 32, "m-2")
        assert said(read_process(tmp_path)) == ("a" * 32, "m-2")
    with StateDirectory(tmp_path, "app") as directory:
        assert said(directory.former) == ("a" * 32, "m-2")
        directory.forget()
        directory.forget()
    with StateDirectory(tmp_path, "app") as directory:
        assert directory.former is None


def test_a_copy_of_a_directory_has_no_former_member(tmp_path):
    """The process of the original may still run."""
    with StateDirectory(tmp_path / "one", "app") as directory:
        directory.remember("a" * 32, "m-1")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    (tmp_path / "one").rename(tmp_path / "moved")
    with StateDirectory(tmp_path / "copy", "app") as directory:
        assert directory.former is None
    with StateDirectory(tmp_path / "moved", "app") as directory:
        assert said(directory.former) == ("a" * 32, "m-1")


def said(process):
    return process.process, process.member_id


def test_an_unreadable_former_member_is_ignored(directory):
    (directory.path / "process.json").write_bytes(b"{")
    assert read_process(directory.path) is None
    assert read_process(directory.path / "nowhere") is None


def test_tasks_are_found_and_wiped(directory):
    assert directory.tasks() == []
    grow(directory, "1_0")
    grow(directory, "0_3")
    assert directory.tasks() == ["0_3", "1_0"]
    directory.wipe(directory.task("0_3"))
    directory.wipe(directory.task("0_3"))
    assert directory.tasks() == ["1_0"]
    assert not list(directory.path.glob(".wiped*"))


def test_a_wipe_that_was_interrupted_is_finished_at_the_next_start(directory, monkeypatch):
    grow(directory, "0_3")

    def interrupted(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            directory.wipe(directory.task("0_3"))
    assert directory.tasks() == []
    directory.close()
    with StateDirectory(directory.path, "app"):
        assert sorted(path.name for path in directory.path.iterdir()) == ["about.json", "lock", "tasks"]


def test_stale_tasks_are_swept(directory):
    now = 1_000 * HOUR
    grow(directory, "0_0", age=49 * HOUR)
    grow(directory, "0_1", age=49 * HOUR)
    grow(directory, "0_2", age=49 * HOUR)
    grow(directory, "0_2", name="LOG", age=HOUR)
    directory.task("0_3").mkdir()
    assert directory.remove_stale(now, 48 * HOUR, keep={"0_1"}) == ["0_0", "0_3"]
    assert directory.tasks() == ["0_1", "0_2"]


def test_the_age_of_state_is_that_of_its_newest_file(directory):
    now = 1_000 * HOUR
    grow(directory, "0_0", age=49 * HOUR)
    grow(directory, "0_0", name="000009.sst", age=30 * HOUR)
    assert directory.age(directory.task("0_0"), now) == 30 * HOUR
    grow(directory, "0_0", name="LOG", age=20 * HOUR)
    assert directory.age(directory.task("0_0"), now) == 20 * HOUR
    assert directory.age(directory.task("0_0"), now - 40 * HOUR) == 0


def test_what_is_written_is_what_the_documents_say(directory):
    directory.remember("a" * 32, "m-1")
    assert msgspec.json.decode((directory.path / "about.json").read_bytes()) == {"format": 1, "application": "app"}
    assert Path(directory.path / "lock").read_text() == f"{os.getpid()}\n"
    assert directory.task("0_3") == directory.path / "tasks" / "0_3"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    with StateDirectory(tmp_path, "app") as directory:
        directory.scratch("file").write_text("half")
        directory.scratch("folder").mkdir()
        (directory.scratch("folder") / "file").write_text("half")
    StateDirectory(tmp_path, "app").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["about.json", "lock", "tasks"]
