"""The example application as its user runs it: `python app.py --broker ...`, in a process of its own.

The demo knows of it what any operator would: its exit code, its log, its metrics at /metrics, and its group's
committed offsets at the broker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

from broker import end, free_port
from prometheus_client.parser import text_string_to_metric_families

PROGRAM = Path(__file__).with_name("app.py")

Figures = dict[str, float]
"""Metrics by name, summed over their labels."""


class Application:
    """Starts, kills and stops the process. State directory and log stay the same over restarts."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.log = folder / "app.log"
        self.starts = 0
        self.started_at = 0.0
        self._web = free_port()
        self._command = [sys.executable, str(PROGRAM), "--broker", broker, "--state-dir", str(folder / "state")]
        self._command += ["--commit-interval", "500ms", "--web", str(self._web)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it in a session of its own: Ctrl-C is for the demo, which stops its children in order."""
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(self._command, stdout=out, stderr=out, start_new_session=True)
        self.starts += 1
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        """The process id, 0 before the first start."""
        return self._child.pid if self._child else 0

    def exit_code(self) -> int | None:
        """The exit code when it has ended by itself."""
        return self._child.poll() if self._child else None

    def kill(self) -> None:
        """SIGKILL: no last commit, no goodbye to the group."""
        if self._child:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def stop(self, patience: float = 10) -> int:
        """SIGTERM, as a service manager does; gives the exit code."""
        return end(self._child, patience) if self._child else 0

    def last_words(self, lines: int = 25) -> str:
        """The end of the log."""
        if not self.log.exists():
            return "(it wrote no log)"
        return "\n".join(f"  {line}" for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def metrics(self) -> Figures | None:
        """What /metrics says now, None while nobody answers there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/metrics", timeout=1) as reply:
                text = reply.read().decode()
        except (OSError, HTTPException):  # the latter when it is killed in the middle of an answer
            return None
        figures: Figures = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                figures[sample.name] = figures.get(sample.name, 0.0) + sample.value
        return figures
