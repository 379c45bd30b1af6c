"""Tests that a process ends with its exit code, whatever threads the program has left running."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tidemill.engine.exit import exit_process

pytestmark = pytest.mark.slow

PROGRAM = """
import logging, threading, time
from tidemill.engine.exit import exit_process
threading.Thread(target=time.sleep, args=({0},), name="mine", daemon={1}).start()
print("kept")
exit_process(3, 0.3)
"""


def ended(seconds: float, daemon: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(seconds, daemon)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_thread_that_never_ends_is_not_waited_for() -> None:
    found = ended(600)
    assert (found.returncode, found.stdout) == (3, "kept\n")
    assert found.stderr.startswith("waiting up to 0.3 s for threads of the program: mine (a thread with daemon=True")


def test_a_thread_that_ends_soon_is() -> None:
    found = ended(0.01)
    assert (found.returncode, found.stdout) == (3, "kept\n")


def test_exit_handlers_of_python_are_not_waited_for_either() -> None:
    program = (
        "import atexit, time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from tidemill.engine.exit import exit_process\n{0}\nexit_process(3, 0.3)"
    )
    for last in ("atexit.register(time.sleep, 600)", "ThreadPoolExecutor().submit(time.sleep, 600)"):
        found = subprocess.run([sys.executable, "-c", program.format(last)], timeout=60, check=False)
        assert found.returncode == 3


def test_a_program_that_continues_is_not_ended() -> None:
    program = (
        "import time\nfrom tidemill.engine.exit import exit_process\n"
        "try:\n    exit_process(3, 0.1)\nexcept SystemExit:\n    time.sleep(1)\n    print('went on')"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout) == (0, "went on\n")


def test_without_threads_nothing_is_logged() -> None:
    found = ended(600, daemon=True)
    assert (found.returncode, found.stdout, found.stderr) == (3, "kept\n", "")


def test_in_another_thread_that_thread_ends_and_the_process_does_not() -> None:
    codes: list[object] = []

    def run() -> None:
        with pytest.raises(SystemExit) as left:
            exit_process(3, 0.0)
        codes.append(left.value.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert codes == [3]


@pytest.mark.slow
def test_a_program_whose_stack_keeps_changing_is_not_ended() -> None:
    program = (
        "import time\nfrom tidemill.engine.exit import exit_process\n"
        "def deep(n): return n and deep(n - 1)\n"
        "try:\n    exit_process(3, 0.0)\nexcept SystemExit:\n    end = time.monotonic() + 3\n"
        "    while time.monotonic() < end:\n        deep(100)\n    print('went on')"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout) == (0, "went on\n")
