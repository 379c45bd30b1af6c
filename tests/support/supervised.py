"""A supervisor and its workers as processes, without Kafka: the workers run a scripted command and log to files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.support.patience import PATIENCE
from tidemill.engine.config.settings import Settings

WORKER = """
import json, os, re, sys, time
from pathlib import Path
from tidemill.engine.serve.server import serving
from tidemill.engine.config.settings import Settings
from tidemill.engine.clock import SYSTEM
from tidemill.engine.serve.load import LoadSample
from tidemill.engine.serve.stats import Stats
from tidemill.engine.signals import StopSignals
from tidemill.engine.workers.worker import inherit

number = int(os.environ["TIDEMILL_WORKER"])
inherited = inherit(os.environ)
assert inherited is not None
assert not [name for name in os.environ if name.startswith("TIDEMILL_")]
here = Path(sys.argv[1])
if sys.argv[2] == "imports":
    (here / f"{number}-0").write_text(json.dumps(os.getpid()))
    time.sleep(60)
stats = Stats()
stats.assigned(6)
stats.turn([], lambda key: 0, 1)
command = sys.argv[2]
if command == "loaded":
    stats.samples = tuple(LoadSample(at * 1000, 100 * at, 0, 0.95 * at, 0.05 * at) for at in range(10))
    stats.lag = {("in", number): 10}  # it does not shrink
if command == "starts":
    stats.restoring = 1
with StopSignals() as stopping, serving(Settings(app_id="a"), stats, SYSTEM, "1", inherited.web):
    life = len(list(here.glob(f"{number}-*")))
    (here / f"{number}-{life}").write_text(json.dumps(os.getpid()))
    while not stopping():
        if command == "starts" and (here / "go").exists():
            stats.restoring = 0
        if command == "hangs" and number == 1 and life == 0 and (here / "go").exists():
            re.match("(a+)+$", "a" * 64 + "b")  # takes forever, and holds the interpreter lock
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
from pathlib import Path
from tidemill.engine.workers.autoscale import WorkerBounds
from tidemill.engine.clock import SYSTEM
from tidemill.engine.config.settings import Settings
from tidemill.engine.signals import StopSignals, stop_with_parent
from tidemill.engine.workers.supervisor import Supervisor

stop_with_parent(int(sys.argv.pop(1)))  # so that nothing is left of a test run that is killed
logging.basicConfig(level="INFO", format="%(message)s")
bounds = sys.argv.pop(1)
settings = Settings(
    app_id="a", workers=2, web=0, stop_timeout=int(sys.argv[1]), state_dir=Path(sys.argv[3]) / "state",
    max_poll_interval=3_000,
    autoscale=WorkerBounds(*map(int, bounds.split(":"))) if bounds else None,
)
class Broken(Supervisor):
    def _look(self, now):
        if (Path(sys.argv[3]) / "bug").exists():
            1 / 0
        super()._look(now)

python = os.environ.get("PYTHON_OF_WORKERS", sys.executable)
supervisor = Broken(settings, [python, *sys.argv[2:]], SYSTEM, os.environ, 4, 6)
with StopSignals(children=True, at_once=False) as signals:
    code = supervisor.run(signals, lambda url: print(url, flush=True))
sys.exit(code)
"""


LONGEST = 15 * PATIENCE
"""Seconds that anything may take on a machine that is busy with other things."""


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


class Running:
    """A supervisor process with two workers."""

    def __init__(self, directory: Path, command: str, stop_timeout: int, bounds: str, interpreter: Path | None) -> None:
        self.directory = directory
        self.settings = Settings(app_id="a", state_dir=directory / "state")
        worker = directory / "worker.py"
        worker.write_text(WORKER)
        read, self._life = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", SUPERVISOR, str(read), bounds),
                *(str(stop_timeout), str(worker), str(directory), command),
            ],
            pass_fds=[read],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")},
                **({} if interpreter is None else {"PYTHON_OF_WORKERS": str(interpreter)}),
            },
            start_new_session=True,
        )
        os.close(read)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def pid(self, number: int, life: int = 0) -> int:
        """Wait for the nth start of a worker, and return its pid."""
        file = self.directory / f"{number}-{life}"
        wait_for(lambda: file.exists() and file.read_text() != "")
        return json.loads(file.read_text())

    def both(self) -> list[int]:
        """Return the pids of the first start of both workers."""
        return [self.pid(0), self.pid(1)]

    def close(self) -> None:
        """Kill the supervisor and the workers that still run."""
        self.process.kill()
        self.process.communicate()
        os.close(self._life)

    def end(self) -> tuple[int, str]:
        """Return the exit code and the log, after checking that no worker is left."""
        _, log = self.process.communicate(timeout=LONGEST)
        for file in self.directory.glob("[0-9]-*"):
            assert not Path(f"/proc/{json.loads(file.read_text())}").exists()
        return self.process.returncode, log


class Run(Protocol):
    """Start a supervisor whose workers run a scripted command."""

    def __call__(
        self, command: str, stop_timeout: int = 30_000, bounds: str = "", interpreter: Path | None = None
    ) -> Running: ...
