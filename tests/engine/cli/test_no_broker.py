"""Tests of commands, as processes, without a reachable Kafka: messages and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

from .test_main import VIEWS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("views.py").write_text(VIEWS)


def ran(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [["views.py"], ["-m", "tidemill", "run", "views.py:app"]])
def test_no_broker(how: list[str]) -> None:
    found = ran(*how, "--broker", "127.0.0.1:1", "--connect-timeout", "200ms")
    assert found.returncode == 3, found.stderr
    assert "error: cannot reach Kafka at 127.0.0.1:1" in found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""


@pytest.mark.slow
def test_no_broker_for_any_worker() -> None:
    found = ran("views.py", "--workers", "2", "--broker", "127.0.0.1:1", TIDEMILL_CONNECT_TIMEOUT="200ms")
    assert found.returncode == 3, found.stderr
    assert "ended with exit code 3: Kafka cannot be reached or refuses; stopping all workers" in found.stderr


@pytest.mark.slow
def test_a_stop_while_waiting_for_kafka_is_clean() -> None:
    with subprocess.Popen(
        [sys.executable, "views.py", "--broker", "127.0.0.1:1"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "waiting for Kafka" in line:
                break
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 0, process.stderr.read()
        assert time.monotonic() - began < 15 * PATIENCE, "well before connect_timeout"
