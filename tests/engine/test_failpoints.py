"""Tests of failpoints: no effect unless armed; armed, they act at the nth passage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tidemill.engine import failpoints
from tidemill.engine.errors import ConfigError


def test_unset_is_a_function_that_does_nothing() -> None:
    assert failpoints.arm(None) is failpoints.nothing
    assert failpoints.arm("") is failpoints.nothing


def test_raise_at_the_nth_passage_and_only_then() -> None:
    hit = failpoints.arm("during-settle:3=raise")
    hit("during-settle")
    hit("before-produce")
    hit("during-settle")
    with pytest.raises(failpoints.FailpointReached, match="during-settle"):
        hit("during-settle")
    hit("during-settle")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("during-setle", "did you mean 'during-settle'?"),
        ("during-settle:0", "write during-settle:2"),
        ("during-settle:x", "write during-settle:2"),
        ("during-settle:", "write during-settle:2"),
        ("during-settle=explode", "one of kill, raise, stop, slow, not 'explode'"),
    ],
)
def test_nonsense_is_refused(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        failpoints.parse(text)
    assert part in str(caught.value)


def test_slow_sleeps_from_the_nth_passage_on(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(failpoints.time, "sleep", slept.append)
    hit = failpoints.arm("during-settle:2=slow")
    for _ in range(4):
        hit("during-settle")
        hit("before-produce")
    assert slept == [failpoints.SLOW_SECONDS] * 3


TWICE = """
from tidemill.engine.failpoints import hit
hit("before-produce")
print("once", flush=True)
hit("before-produce")
print("twice", flush=True)
"""


@pytest.mark.slow
def test_kill_is_sigkill() -> None:
    found = subprocess.run(
        [sys.executable, "-c", TWICE],
        env={**os.environ, failpoints.VARIABLE: "before-produce:2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == -signal.SIGKILL
    assert found.stdout == "once\n"


@pytest.mark.slow
def test_stop_is_sigstop_and_the_process_can_continue() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", TWICE],
        env={**os.environ, failpoints.VARIABLE: "before-produce:2=stop"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT) is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "once\n"
        child.send_signal(signal.SIGCONT)
        assert child.stdout.read() == "twice\n"
    assert child.returncode == 0
