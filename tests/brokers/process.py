"""Processes that cannot outlive the test run: the guardian (guard.py) starts, watches and signals them.

`spawn` is for brokers and for the applications that tests kill. The guardian is the parent, so a process id stays
valid until this module has seen the exit code, and nothing is left behind when the test run itself is killed.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE


class _Guard:
    """The connection to the guardian of this process, which is started at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, do: str, **fields: Any) -> Any:
        with self._lock:
            process = self._process
            if process is None:
                process = self._process = subprocess.Popen(
                    [sys.executable, "-S", "-E", str(Path(__file__).with_name("guard.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,  # Ctrl-C is handled by the test run
                )
                atexit.register(self._finish)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            raise RuntimeError("the guardian of the tests' processes is gone")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"the guardian could not {do} {fields}: {reply['error']}")
        return reply["ok"]

    def _finish(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.stdout is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            process.wait(timeout=90)


_guard = _Guard()


@dataclass(frozen=True)
class Child:
    """A process that a test started. Signals go to its whole process group."""

    pid: int
    log: Path

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that killed it), or None while it runs."""
        return _guard.ask("poll", pid=self.pid)

    def wait(self, timeout: float) -> int:
        """Wait for the exit code and return it; the TimeoutError shows the end of the log."""
        timeout *= PATIENCE
        deadline = time.monotonic() + timeout
        pause = 0.002
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"process {self.pid} still runs after {timeout:g} s; its log ends with:\n{tail(self.log)}"
                )
            time.sleep(pause)
            pause = min(0.05, pause * 1.5)
        return code

    def send_signal(self, number: int) -> None:
        _guard.ask("signal", pid=self.pid, number=int(number))

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill (SIGKILL), and wait until the process is gone."""
        self.send_signal(signal.SIGKILL)
        self.wait(10)

    def pause(self) -> None:
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)


def spawn(argv: Sequence[str], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Child:
    """Start a process in a group of its own.

    Output and errors are appended to `log`; `env` replaces the environment.
    """
    pid = _guard.ask(
        "spawn",
        argv=list(argv),
        log=str(log.absolute()),
        cwd=None if cwd is None else str(cwd),
        env=dict(os.environ if env is None else env),
    )
    return Child(pid, log)


def temporary_directory(prefix: str) -> Path:
    """Create a temporary directory, which the guardian removes if the test run does not."""
    path = Path(tempfile.mkdtemp(prefix=f"tidemill-{prefix}-"))
    _guard.ask("remove-at-end", path=str(path))
    return path


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def run_at_end(argv: Sequence[str]) -> None:
    """Register a command that the guardian runs after the test run."""
    _guard.ask("run-at-end", argv=list(argv))


def exists(pid: int) -> bool:
    """Return whether a process runs (false for a zombie process)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def tail(log: Path, lines: int = 30) -> str:
    """Return the last lines of a log, for messages."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
