"""Tests of scaling the workers of a running supervisor, by `tidemill scale` and by their load."""

from __future__ import annotations

import json
import os
import platform
import signal
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.supervised import Run, Running, wait_for
from tidemill.engine.cli.scale import scale
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import ConfigError, Fatal, StateUnusable
from tidemill.engine.workers import control
from tidemill.engine.workers.control import ControlRequest, ControlResponse, WorkerStatus, ask


def command(running: Running | Path, *arguments: str) -> Result:
    """`tidemill scale a`, against the supervisor's state directory."""
    directory = running if isinstance(running, Path) else running.directory / "state"
    return CliRunner().invoke(scale, ["a", "--state-dir", str(directory), *arguments])


def numbers(answer: ControlResponse) -> list[int]:
    return [place.number for place in answer.places]


@pytest.mark.slow
def test_more_workers_and_fewer(run: Run, tmp_path: Path) -> None:
    running = run("runs")
    running.both()
    result = command(running, "--workers", "4")
    assert result.exit_code == 0, result.output
    assert result.stdout == "a: 4 workers wanted: 4 ready\n"
    pids = [running.pid(number) for number in range(4)]
    result = command(running, "--workers", "1")
    assert result.stdout == "a: 1 worker wanted: 1 ready\n", result.output
    answer = ask(running.settings, ControlRequest())
    assert [(place.number, place.pid) for place in answer.places] == [(0, pids[0])], "the highest numbers went"
    assert all((tmp_path / f"stopping-{number}").exists() for number in (1, 2, 3)), "cleanly"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids[1:])
    assert command(running, "--workers", "2").exit_code == 0
    assert running.pid(1, life=1) not in pids
    assert command(running).stdout == "a: 2 workers wanted: 2 ready\n"
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0
    assert "1 worker instead of 4, as requested" in log
    assert "restarting it" not in log, "a requested stop is not a death"
    assert not (tmp_path / "state" / "a" / "supervisor.json").exists()


@pytest.mark.slow
def test_it_waits_until_they_are_at_work(run: Run, tmp_path: Path) -> None:
    running = run("starts")
    running.both()
    early = command(running, "--workers", "3", "--timeout", "1")
    assert isinstance(early.exception, Fatal)
    assert "3 workers wanted: 3 starting" in early.stderr
    (tmp_path / "go").touch()
    assert command(running, "--workers", "3").stdout == "a: 3 workers wanted: 3 ready\n"


@pytest.mark.slow
def test_a_worker_that_is_wanted_again_before_it_has_stopped(run: Run) -> None:
    running = run("slow")
    first = running.both()
    assert "1 stopping" in command(running, "--workers", "1", "--timeout", "0").stdout
    assert command(running, "--workers", "2").stdout == "a: 2 workers wanted: 2 ready\n"
    assert running.pid(1, life=1) != first[1]


@pytest.mark.slow
def test_a_worker_that_does_not_stop_is_killed(run: Run) -> None:
    running = run("lingers", stop_timeout=1_000)
    running.both()
    assert command(running, "--workers", "1").exit_code == 0
    running.process.send_signal(signal.SIGTERM)
    assert "worker 1 was killed by SIGKILL while stopping\n" in running.end()[1]


@pytest.mark.slow
def test_more_workers_than_tasks_are_refused(run: Run) -> None:
    running = run("runs")
    running.both()
    wait_for(lambda: ask(running.settings, ControlRequest()).reached)
    result = command(running, "--workers", "8")
    assert isinstance(result.exception, ConfigError)
    assert "8 workers would be more than can have work: it has 6 tasks, and this machine gives it 4 proces" in str(
        result.exception
    )
    assert command(running).stdout == "a: 2 workers wanted: 2 ready\n", "nothing has changed"
    assert command(running, "--workers", "auto").stdout == "a: 4 workers wanted: 4 ready\n", "of 4 processors"


@pytest.mark.slow
def test_with_autoscale_the_bounds_are_what_can_be_set(run: Run) -> None:
    running = run("runs", bounds="2:3")
    running.both()
    refused = command(running, "--workers", "4")
    assert isinstance(refused.exception, ConfigError)
    assert "a: autoscale is on (2:3), so the number of workers follows the load" in str(refused.exception)
    assert command(running, "--autoscale", "3:6").stdout == "a: 3 workers wanted: 3 ready; autoscale 3:6\n"
    both = command(running, "--autoscale", "off", "--workers", "1")
    assert both.stdout == "a: 1 worker wanted: 1 ready\n", both.output
    assert "--workers and --autoscale MIN:MAX exclude each other" in str(
        command(running, "--autoscale", "1:2", "--workers", "2").exception
    )


@pytest.mark.slow
def test_workers_are_added_while_those_there_are_overloaded(run: Run) -> None:
    """Each needs 1.2 workers of its kind forever, so they grow to the limit, the number of processors."""
    running = run("loaded", bounds="2:16")
    running.both()
    wait_for(lambda: numbers(ask(running.settings, ControlRequest())) == [0, 1, 2])
    wait_for(lambda: numbers(ask(running.settings, ControlRequest())) == [0, 1, 2, 3])
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0
    assert "autoscale 2:16: no more than 4 are useful here (4 processors, 6 tasks)" in log
    assert "autoscale 2:16: 3 workers instead of 2 (the work requires 2.4)" in log


def test_wrong_numbers(tmp_path: Path) -> None:
    assert "--workers: 0 is out of range" in str(command(tmp_path, "--workers", "0").exception)
    assert "--workers: 'many' is not a number" in str(command(tmp_path, "--workers", "many").exception)
    assert "--autoscale: '3' is not a minimum and a maximum" in str(command(tmp_path, "--autoscale", "3").exception)


def whereabouts(directory: Path, host: str, socket: str) -> None:
    path = directory / "a" / control.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": 1, "host": host, "socket": socket}))


def test_nothing_that_runs(tmp_path: Path) -> None:
    assert f"no supervisor of a runs here, by the state directory {tmp_path}" in str(
        command(tmp_path, "--workers", "2").exception
    )
    lock = tmp_path / "a" / "worker-0" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(f"{os.getpid()}\n")
    assert f"Process {os.getpid()} runs a alone" in str(command(tmp_path, "--workers", "2").exception)
    whereabouts(tmp_path, platform.node(), str(tmp_path / "gone"))
    assert "the supervisor of a (process 1) has ended" in str(command(tmp_path).exception)
    whereabouts(tmp_path, "elsewhere", str(tmp_path / "gone"))
    assert "runs on another machine, 'elsewhere' (process 1)" in str(command(tmp_path).exception)


@pytest.mark.slow
def test_one_that_was_killed(run: Run, tmp_path: Path) -> None:
    running = run("runs")
    running.both()
    left = Path(json.loads((tmp_path / "state" / "a" / control.FILE).read_text())["socket"]).parent
    assert left.stat().st_mode & 0o077 == 0, "for its user alone"
    running.process.kill()
    running.process.wait()
    assert "has ended" in str(command(running).exception)
    assert left.exists()
    control.Control(running.settings, lambda: None).close()
    assert not left.exists(), "the next one tidies up"


def test_two_supervisors_of_one_application(tmp_path: Path) -> None:
    settings = Settings(app_id="a", state_dir=tmp_path)
    first = control.Control(settings, lambda: None)
    try:
        with pytest.raises(
            StateUnusable, match=f"another supervisor \\(process {os.getpid()}\\) runs the workers of 'a'"
        ):
            control.Control(settings, lambda: None)
    finally:
        first.close()
    control.Control(settings, lambda: None).close()


def test_a_long_name_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has about a hundred characters; build servers have longer names for TMPDIR."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    settings = Settings(app_id="a", state_dir=tmp_path / "state")
    there = control.Control(settings, lambda: None)
    try:
        found = control.supervisor_of(settings)
        assert found is not None
        assert Path(found.socket).is_socket()
    finally:
        there.close()
    assert not list(long.iterdir())


def test_no_place_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(prefix: str, dir: object) -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    settings = Settings(app_id="a", state_dir=tmp_path)
    there = control.Control(settings, lambda: None)
    try:
        assert "`tidemill scale` cannot reach this supervisor" in caplog.text
        assert there.requests() == []
        with pytest.raises(ConfigError, match="found no directory for its socket"):
            ask(settings, ControlRequest())
    finally:
        there.close()


def test_what_is_asked_and_what_is_answered(tmp_path: Path) -> None:
    """The request reaches the supervisor's queue, wakes it, and its answer comes back."""
    settings = Settings(app_id="a", state_dir=tmp_path)
    answer = ControlResponse(7, 2, [WorkerStatus(0, 8, "ready", 1)], (1, 2), 6, 4)
    woken: list[int] = []

    def wake() -> None:
        woken.append(1)
        [waiting] = there.requests()
        assert waiting.request == ControlRequest(2)
        waiting.answer.set_result(answer)

    there = control.Control(settings, wake)
    try:
        assert ask(settings, ControlRequest(2)) == answer
    finally:
        there.close()
    assert woken == [1]
    assert not answer.reached
