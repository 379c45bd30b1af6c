"""Tests of the supervisor: which workers are restarted, what they inherit, and how all of them stop."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.patience import PATIENCE
from tests.support.supervised import Run, Running, wait_for
from tidemill.engine.clock import SYSTEM
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import ConfigError
from tidemill.engine.workers.control import ControlRequest, ask
from tidemill.engine.workers.supervisor import Supervisor
from tidemill.engine.workers.worker import GiveUp, Restart, Worker, decide_restart, describe


@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_a_worker_with_a_permanent_error_is_not_restarted(code: int) -> None:
    decided = decide_restart(code, 1)
    assert isinstance(decided, GiveUp)
    assert decided.code == code


def test_the_first_restart_is_at_once_and_later_ones_are_not() -> None:
    delays = [decide_restart(-9, deaths) for deaths in range(1, 8)]
    assert delays == [Restart(ms) for ms in (0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000)]
    assert decide_restart(70, 8) == GiveUp(70, "it died 8 times in a row soon after its start")
    assert decide_restart(-9, 8) == GiveUp(137, "it died 8 times in a row soon after its start"), "as a shell has it"


def test_silence_is_a_hang_only_after_an_answer_and_some_looks() -> None:
    worker = Worker(0)
    worker.start([sys.executable, "-c", "input()"], os.environ, 0)
    try:
        for _ in range(10):
            worker.looked(False, 100_000)
        assert not worker.hangs(1_000, 100_000), "it may import for long"
        worker.looked(True, 100_000)
        worker.looked(False, 200_000)
        assert not worker.hangs(1_000, 200_000), "the supervisor itself may have been paused"
        worker.looked(False, 202_000)
        worker.looked(False, 204_000)
        assert worker.hangs(1_000, 204_000)
        assert not worker.hangs(104_000, 204_000)
        worker.looked(True, 206_000)
        assert not worker.hangs(1_000, 206_000)
    finally:
        worker.send(signal.SIGKILL)
        while worker.reap() is None:
            time.sleep(0.01)
        worker.web.close()


@pytest.mark.slow
def test_a_worker_whose_interpreter_hangs_is_ended_with_its_stacks(run: Run, tmp_path: Path) -> None:
    running = run("hangs")
    running.both()
    wait_for(lambda: ask(running.settings, ControlRequest()).reached)  # it has responded
    (tmp_path / "go").touch()
    wait_for(lambda: "worker 1: it does not answer" in alive(running))
    running.pid(1, life=1)
    wait_for(lambda: "worker 1: it does not answer" not in alive(running))
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0
    assert "worker 1 hangs: no response for " in log
    assert "worker 1 was killed by SIGABRT; restarting it now" in log
    assert re.search(r'File ".*worker\.py", line \d+ in <module>', log), "where it hung"


def alive(running: Running) -> str:
    """Return the health of the workers as reported by the supervisor; these workers process nothing."""
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{running.url}/health/live", timeout=20)
    with answer.value as unwell:
        return unwell.read().decode()


@pytest.mark.slow
def test_an_interpreter_that_is_missing_for_a_while_is_waited_for(run: Run, tmp_path: Path) -> None:
    """A deployment may replace the environment in place while a worker dies."""
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    running = run("runs", interpreter=tmp_path / "python")
    _, second = running.both()
    (tmp_path / "python").rename(tmp_path / "old")
    os.kill(second, signal.SIGKILL)
    time.sleep(1.5)
    (tmp_path / "old").rename(tmp_path / "python")
    running.pid(1, life=1)
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0
    assert "worker 1 cannot be started: No such file or directory" in log
    assert "worker 0 was killed" not in log


@pytest.mark.slow
def test_an_error_in_the_supervisor_stops_workers_cleanly(run: Run, tmp_path: Path) -> None:
    running = run("bug")
    running.both()
    (tmp_path / "bug").touch()
    code, log = running.end()
    assert code == 1, log
    assert "ZeroDivisionError" in log
    assert all((tmp_path / f"stopping-{number}").exists() for number in (0, 1))


@given(st.integers(-64, 255), st.integers(0, 100))
def test_every_death_has_a_verdict(code: int, deaths: int) -> None:
    match decide_restart(code, deaths):
        case Restart(delay):
            assert 0 <= delay <= 30_000
        case GiveUp(ends_with, why):
            assert ends_with > 0
            assert why


def test_how_a_process_ended_in_words() -> None:
    assert describe(3) == "ended with exit code 3"
    assert describe(-9) == "was killed by SIGKILL"
    assert describe(-63) == "was killed by signal 63"


def test_the_number_of_a_worker_is_not_for_the_user_to_set() -> None:
    with pytest.raises(ConfigError, match="worker and workers cannot be set together"):
        Supervisor(Settings(app_id="views", workers=2, worker=1), [], SYSTEM, {}, 2)


@pytest.mark.slow
def test_a_stop_is_passed_on_and_a_clean_one_is_clean(run: Run) -> None:
    running = run("runs")
    running.both()
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert 'tidemill_worker_up{worker="0"} 1.0' in text
    assert 'tidemill_joined{worker="1"} 1.0' in text
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 0


@pytest.mark.slow
def test_a_stop_of_workers_that_have_not_begun_is_clean(run: Run) -> None:
    """They cannot handle it yet: the signal itself ends them, before they have done anything."""
    running = run("imports")
    running.both()
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0, log
    assert "while stopping" not in log


@pytest.mark.slow
def test_a_key_on_the_terminal_is_one_signal_for_the_workers(run: Run) -> None:
    """Ctrl-C goes to the whole foreground group; the workers are signalled by the supervisor only."""
    running = run("slow")
    running.both()
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end()[0] == 0


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again(run: Run, tmp_path: Path) -> None:
    running = run("crashes")
    running.pid(1, life=2)
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0
    assert "worker 1 was killed by SIGABRT; restarting it now" in log
    assert "worker 1 was killed by SIGABRT; restarting it in 1s" in log
    assert not (tmp_path / "0-1").exists(), "the other one was left alone"


@pytest.mark.slow
def test_a_worker_that_fails_for_good_stops_all(run: Run) -> None:
    code, log = run("fails").end()
    assert code == 1
    assert "worker 1 ended with exit code 1: a record could not be processed" in log


@pytest.mark.slow
def test_an_error_while_stopping_is_the_exit_code(run: Run) -> None:
    running = run("breaks")
    running.both()
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 70
    assert "ended with exit code 70 while stopping" in log


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(run: Run, tmp_path: Path) -> None:
    running = run("lingers")
    running.both()
    running.process.send_signal(signal.SIGTERM)
    wait_for(lambda: len(list(tmp_path.glob("stopping-*"))) == 2)
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.end()[0] == 130
    assert time.monotonic() - began < 20 * PATIENCE, "neither stop_timeout nor the workers were waited for"


@pytest.mark.slow
def test_workers_that_do_not_stop_are_killed(run: Run) -> None:
    running = run("lingers", stop_timeout=1_000)
    running.both()
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 130
    assert "was killed by SIGKILL while stopping" in log
    assert time.monotonic() - began > 2.5


@pytest.mark.slow
def test_workers_stop_when_the_supervisor_is_killed(run: Run) -> None:
    running = run("runs")
    pids = running.both()
    running.process.kill()
    running.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
