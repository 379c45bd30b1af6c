"""Run Faust's functional tests with the streams and queues of `tidemill faust worker`.

    python bench/faust_functional.py CHECKOUT [options of pytest]

Needs an environment with Tidemill and with what these tests need (`requirements/test.txt` of the checkout). Tests that
look into the order of turns, or at Faust's own defaults, are left out: `APART` says which, and why.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from faust.app import App

from tidemill.engine.faust.binding import stream_queue
from tidemill.engine.faust.stream import TaskStream
from tidemill.engine.faust.tasks.work import Gate

APART = {
    "agents/test_concurrency.py": "agents take turns of some milliseconds, not of one event",
    "agents/test_isolated_partitions.py::test_agent_isolated_partitions": "the same for partitions",
    "test_app.py::Test_settings::test_defaults": "the class of streams is another one here",
}


def pytest_configure(config: object) -> None:
    """Give each application of a test the streams and queues that it has in a worker."""
    application: Any = App
    finalize: Any = application.finalize

    def finalized(app: Any) -> None:
        finalize(app)
        if not hasattr(app, "tidemill"):
            app.tidemill = SimpleNamespace(sensors=True, gate=Gate())
            app.conf.Stream = TaskStream
            app.FlowControlQueue = partial(stream_queue, app)

    application.finalize = finalized


def main() -> int:
    """Run pytest in a checkout, with this file as a plugin."""
    checkout, *options = sys.argv[1:]
    here = Path(__file__).resolve()
    left_out = [f"--deselect=tests/functional/{name}" for name in APART]
    command = [sys.executable, "-m", "pytest", "-q", "-p", here.stem, "-o", "addopts=", "tests/functional"]
    environment = {**os.environ, "PYTHONPATH": str(here.parent)}
    return subprocess.run([*command, *left_out, *options], cwd=checkout, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
