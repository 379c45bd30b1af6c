"""Run a user's program as users do: a separate process, with settings in its environment, and a log.

A `Program` can be started several times, one after the other or in parallel; each `Life` has a separate log. This
module depends on the engine only by its environment variables and its log lines.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from tests.brokers.process import Child, spawn, tail
from tests.support.patience import PATIENCE

PROGRAMS = Path(__file__).with_name("programs")


class Life:
    """One run of a program: a process and its log."""

    def __init__(self, child: Child, number: int) -> None:
        self.child = child
        self.number = number
        self.began = time.monotonic()
        self.started = time.time()

    @property
    def log(self) -> str:
        """Return the output so far."""
        return self.child.log.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Return the log lines that are complete JSON objects."""
        found: list[dict[str, Any]] = []
        for line in self.log.splitlines():
            if line.startswith("{") and line.endswith("}"):
                with suppress(orjson.JSONDecodeError):
                    found.append(orjson.loads(line))
        return found

    def stands_still(self) -> bool:
        """Return whether it is stopped by a signal."""
        return Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def alive(self) -> bool:
        return self.child.poll() is None

    def wait_for(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """Wait for the first match in the log, and return it; fail at once if the process ends without one."""
        wanted = re.compile(pattern)
        timeout *= PATIENCE
        deadline = time.monotonic() + timeout
        while True:
            ended = not self.alive()
            found = wanted.search(self.log)
            if found is not None:
                return found
            if ended:
                raise AssertionError(
                    f"the program ended with {self.child.poll()} before {pattern!r}:\n{tail(self.child.log, 60)}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no {pattern!r} after {timeout:g} s; the log ends with:\n{tail(self.child.log, 60)}"
                )
            time.sleep(0.02)

    def exit(self, timeout: float = 30.0) -> int:
        """Wait for the end, and return the exit code; negative for the signal that killed it."""
        return self.child.wait(timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal to stop, wait for the end, and return the exit code."""
        self.child.send_signal(number)
        return self.exit(timeout)

    def kill(self) -> None:
        """Kill (SIGKILL), and wait for the end."""
        self.child.kill()


class Program:
    """A module in `programs/`, or elsewhere, with its settings."""

    def __init__(
        self,
        module: str | Path,
        directory: Path,
        settings: Mapping[str, object],
        variables: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        """`settings` of Tidemill by name; environment `variables` for the program itself; `name` for its logs."""
        self.module = PROGRAMS / module if isinstance(module, str) else module
        self.name = name or self.module.stem
        self.directory = directory
        self.settings = dict(settings)
        self.variables = dict(variables or {})
        self.lives: list[Life] = []
        directory.mkdir(parents=True, exist_ok=True)

    def environment(self, more: Mapping[str, object] | None = None) -> dict[str, str]:
        """Return the environment of a run: that of this process without settings of Tidemill, and the program's."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
        settings = {f"TIDEMILL_{name.upper()}": str(value) for name, value in {**self.settings, **(more or {})}.items()}
        return {**inherited, **self.variables, **settings}

    def start(self, *, arguments: Sequence[str] = (), prefix: Sequence[str] = (), **more: object) -> Life:
        """Start the program; `more` are settings of this run only, `prefix` a command that runs it."""
        number = len(self.lives) + 1
        log = self.directory / f"{self.name}-{number:03d}.log"
        argv = [*prefix, sys.executable, str(self.module), *arguments]
        life = Life(spawn(argv, log=log, cwd=self.directory, env=self.environment(more)), number)
        self.lives.append(life)
        return life

    def close(self) -> None:
        """Kill what still runs."""
        for life in self.lives:
            if life.alive():
                with suppress(TimeoutError):
                    life.kill()
