"""The example application as a child process: `python app.py --broker ...`.

The demo uses only what is available in production: exit code, log, the metrics at /metrics, and the committed offsets
of the consumer group.
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

from broker import free_port, terminate
from prometheus_client.parser import text_string_to_metric_families

PROGRAM = Path(__file__).with_name("app.py")

Metrics = dict[str, float]
"""Metrics by name, summed over their labels."""


class Application:
    """The application process, which can be started, killed and stopped.

    The state directory and the log file stay the same across restarts.
    """

    def __init__(self, broker: str, folder: Path) -> None:
        self.log = folder / "app.log"
        self.starts = 0
        self.started_at = 0.0
        self._web = free_port()
        self._command = [sys.executable, str(PROGRAM), "--broker", broker, "--state-dir", str(folder / "state")]
        self._command += ["--commit-interval", "500ms", "--web", str(self._web)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process in a new session, so that Ctrl-C reaches only the demo, which stops it."""
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(self._command, stdout=out, stderr=out, start_new_session=True)
        self.starts += 1
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        """Return the process id, 0 before the first start."""
        return self._child.pid if self._child else 0

    def exit_code(self) -> int | None:
        """Return the exit code, None while the process runs."""
        return self._child.poll() if self._child else None

    def kill(self) -> None:
        """Send SIGKILL: the process neither commits nor leaves the group."""
        if self._child:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def stop(self, timeout: float = 10) -> int:
        """Stop the process with SIGTERM, as a service manager does, and return its exit code."""
        return terminate(self._child, timeout) if self._child else 0

    def log_tail(self, lines: int = 25) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return "(there is no log)"
        return "\n".join(f"  {line}" for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def metrics(self) -> Metrics | None:
        """Return the current metrics, None if /metrics does not respond."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/metrics", timeout=1) as response:
                text = response.read().decode()
        except (OSError, HTTPException):  # HTTPException: the process was killed while it sent the response
            return None
        metrics: Metrics = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                metrics[sample.name] = metrics.get(sample.name, 0.0) + sample.value
        return metrics
