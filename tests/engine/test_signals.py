"""Tests of signals: the first one stops, the second one ends the process; stop timeout; death of the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.support.patience import PATIENCE
from tidemill.engine.errors import ConfigError
from tidemill.engine.signals import StopSignals

WAITS = """
import os, signal, sys, time
from tidemill.engine.signals import StopSignals, stop_with_parent
if len(sys.argv) > 2:
    stop_with_parent(int(sys.argv[2]))
limit = int(sys.argv[1]) or None
with StopSignals(limit=limit) as stopping:
    print("ready", flush=True)
    while not stopping():
        time.sleep(0.01)
    print("stopping", flush=True)
    if limit or len(sys.argv) < 3:
        if os.environ.get("DEAF"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # of this thread alone
        time.sleep(60)
print("clean", flush=True)
"""


def started(*arguments: str, pass_fds: tuple[int, ...] = (), deaf: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        env={**os.environ, "DEAF": deaf},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("deaf", ["", "deaf"])
def test_a_second_signal_ends_at_once(number: signal.Signals, deaf: str) -> None:
    """Even when the main thread does not run Python code, as inside a call of the Kafka client."""
    with started("0", deaf=deaf) as process:
        assert process.stdout is not None
        process.send_signal(number)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(number)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "stopped by a second signal: ended at once, without a commit\n"


@pytest.mark.slow
def test_a_stop_that_takes_too_long_ends() -> None:
    with started("100") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert "the stop took longer than stop_timeout" in process.stderr.read()


@pytest.mark.slow
def test_a_worker_stops_cleanly_when_its_owner_is_gone() -> None:
    read, write = os.pipe()
    with started("0", str(read), pass_fds=(read,)) as process:
        os.close(read)
        os.close(write)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "stopping\nclean\n"


def test_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    with StopSignals(children=True, at_once=False) as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping()
        assert stopping.asked == 2
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)] == before


def test_the_death_of_a_child_ends_a_wait() -> None:
    with StopSignals(children=True) as stopping:
        child = subprocess.Popen([sys.executable, "-c", ""])
        began = time.monotonic()
        stopping.wait(60)
        assert time.monotonic() - began < 30 * PATIENCE
        assert not stopping()
        child.wait()
        began = time.monotonic()
        stopping.wait(0.05)
        assert time.monotonic() - began > 0.04, "a wake-up is used up by the wait that it ended"


def test_another_thread_is_refused_with_what_to_do() -> None:
    refused: list[ConfigError] = []

    def run() -> None:
        with pytest.raises(ConfigError) as error, StopSignals():
            pass
        refused.append(error.value)

    thread = threading.Thread(target=run, name="mine")
    thread.start()
    thread.join()
    assert "runs in the main thread of its process" in str(refused[0])
    assert "'mine': run it in a separate process" in str(refused[0])


def test_what_is_to_be_done_once_a_stop_is_asked_for_is_done_while_the_main_thread_is_busy() -> None:
    done = threading.Event()
    with StopSignals() as stopping:
        stopping.once_asked(done.set)
        assert not done.is_set()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        assert done.wait(20)
        late = threading.Event()
        stopping.once_asked(late.set)
        assert late.is_set()
