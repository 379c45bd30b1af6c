"""The supervisor: which deaths are mended, what workers inherit, and how the whole stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.clock import SYSTEM
from tidemill.engine.config import Settings
from tidemill.engine.errors import ConfigError
from tidemill.engine.supervisor import GiveUp, Restart, Supervisor, describe, verdict


@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_what_would_happen_again_is_not_started_again(code: int) -> None:
    decided = verdict(code, 1)
    assert isinstance(decided, GiveUp)
    assert decided.code == code


def test_the_first_restart_is_at_once_and_later_ones_are_not() -> None:
    delays = [verdict(-9, deaths) for deaths in range(1, 8)]
    assert delays == [Restart(ms) for ms in (0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000)]
    assert verdict(-11, 8) == GiveUp(70, "it died 8 times in a row soon after its start")


@given(st.integers(-64, 255), st.integers(0, 100))
def test_every_death_has_a_verdict(code: int, deaths: int) -> None:
    match verdict(code, deaths):
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
        Supervisor(Settings(app_id="views", workers=2, worker=1), [], SYSTEM, {})


WORKER = """
import json, os, sys, time
from pathlib import Path
from tidemill.engine.serve.serving import serving
from tidemill.engine.config import Settings
from tidemill.engine.clock import SYSTEM
from tidemill.engine.serve.stats import Stats
from tidemill.engine.signals import StopSignals
from tidemill.engine.supervisor import inherit

number = int(os.environ["TIDEMILL_WORKER"])
inherited = inherit(os.environ)
assert inherited is not None
assert not [name for name in os.environ if name.startswith("TIDEMILL_")]
here = Path(sys.argv[1])
if sys.argv[2] == "imports":
    (here / f"{number}-0").write_text(json.dumps(os.getpid()))
    time.sleep(60)
stats = Stats()
stats.assigned()
with StopSignals() as stopping, serving(Settings(app_id="a"), stats, SYSTEM, "1", inherited.web):
    life = len(list(here.glob(f"{number}-*")))
    (here / f"{number}-{life}").write_text(json.dumps(os.getpid()))
    command = sys.argv[2]
    while not stopping():
        if command == "fails" and number == 1:
            sys.exit(1)
        if command == "crashes" and number == 1 and life < 2:
            os.abort()
        time.sleep(0.01)
    (here / f"stopping-{number}").touch()
    if command == "lingers":
        time.sleep(60)
    if command == "slow":
        time.sleep(0.7)
    if command == "breaks":
        sys.exit(70)
"""

SUPERVISOR = """
import logging, os, sys
from tidemill.engine.clock import SYSTEM
from tidemill.engine.config import Settings
from tidemill.engine.signals import stop_with_parent
from tidemill.engine.supervisor import Supervisor

stop_with_parent(int(sys.argv.pop(1)))  # so that nothing is left of a test run that is killed
logging.basicConfig(level="INFO", format="%(message)s")
settings = Settings(app_id="a", workers=2, web=0, stop_timeout=int(sys.argv[1]))
supervisor = Supervisor(settings, [sys.executable, *sys.argv[2:]], SYSTEM, os.environ)
sys.exit(supervisor.run(lambda url: print(url, flush=True)))
"""


PATIENCE = 45.0
"""Seconds that anything may take on a machine that is busy with other things."""


def wait_for(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Running:
    """A supervisor with two workers, as a process."""

    def __init__(self, directory: Path, command: str, stop_timeout: int) -> None:
        self.directory = directory
        worker = directory / "worker.py"
        worker.write_text(WORKER)
        read, self._life = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(read), str(stop_timeout), str(worker), str(directory), command],
            pass_fds=[read],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")},
            start_new_session=True,
        )
        os.close(read)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def pid(self, number: int, life: int = 0) -> int:
        """The pid of a worker's nth life, once it runs."""
        file = self.directory / f"{number}-{life}"
        wait_for(lambda: file.exists() and file.read_text() != "")
        return json.loads(file.read_text())

    def both(self) -> list[int]:
        """The pids of the first lives of both workers."""
        return [self.pid(0), self.pid(1)]

    def close(self) -> None:
        """Ends what is left, and the workers with it."""
        self.process.kill()
        self.process.communicate()
        os.close(self._life)

    def end(self) -> tuple[int, str]:
        """Exit code and log; no worker is left."""
        _, log = self.process.communicate(timeout=PATIENCE)
        for file in self.directory.glob("[0-9]-*"):
            assert not Path(f"/proc/{json.loads(file.read_text())}").exists()
        return self.process.returncode, log


class Run(Protocol):
    """Starts a supervisor whose workers follow a command."""

    def __call__(self, command: str, stop_timeout: int = 30_000) -> Running: ...


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Running] = []

    def start(command: str, stop_timeout: int = 30_000) -> Running:
        started.append(Running(tmp_path, command, stop_timeout))
        return started[-1]

    yield start
    for running in started:
        running.close()


def test_a_stop_is_passed_on_and_a_clean_one_is_clean(run: Run) -> None:
    running = run("runs")
    running.both()
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert 'tidemill_worker_up{worker="0"} 1.0' in text
    assert 'tidemill_joined{worker="1"} 1.0' in text
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 0


def test_a_stop_of_workers_that_have_not_begun_is_clean(run: Run) -> None:
    """They cannot hear of it yet: the signal itself ends them, before they have done anything."""
    running = run("imports")
    running.both()
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 0, log
    assert "while it stopped" not in log


@pytest.mark.slow
def test_a_key_on_the_terminal_is_one_signal_for_the_workers(run: Run) -> None:
    """Ctrl-C goes to the whole foreground group; the workers hear of it from the supervisor alone."""
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
    assert "worker 1 was killed by SIGABRT; starting it again now" in log
    assert "worker 1 was killed by SIGABRT; starting it again in 1s" in log
    assert not (tmp_path / "0-1").exists(), "the other one was left alone"


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
    assert "ended with exit code 70 while it stopped" in log


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(run: Run, tmp_path: Path) -> None:
    running = run("lingers")
    running.both()
    running.process.send_signal(signal.SIGTERM)
    wait_for(lambda: len(list(tmp_path.glob("stopping-*"))) == 2)
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.end()[0] == 130
    assert time.monotonic() - began < 20, "neither stop_timeout nor the workers were waited for"


@pytest.mark.slow
def test_workers_that_do_not_stop_are_killed(run: Run) -> None:
    running = run("lingers", stop_timeout=1_000)
    running.both()
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    code, log = running.end()
    assert code == 130
    assert "was killed by SIGKILL while it stopped" in log
    assert time.monotonic() - began > 2.5


def test_workers_stop_when_the_supervisor_is_killed(run: Run) -> None:
    running = run("runs")
    pids = running.both()
    running.process.kill()
    running.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
