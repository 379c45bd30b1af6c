"""Tests of the demonstration as a process: its verdict, clean-up, and messages if it cannot start."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLES, Load

DEMO = EXAMPLES / "flights" / "demo.py"
needs_broker = pytest.mark.skipif(importlib.util.find_spec("noida_db") is None, reason="left out: no embedded broker")


class Demo:
    """A demonstration in a separate process, with a separate directory for temporary files."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.output = folder.with_suffix(".out")
        folder.mkdir()
        environment = {name: value for name, value in os.environ.items() if name not in ("BROKER", "KILL")}
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(DEMO), *arguments],
                stdout=out,
                stderr=out,
                env={**environment, "TMPDIR": str(folder)},
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)

    def ended(self, seconds: float) -> int:
        return self.process.wait(seconds)

    def left_behind(self) -> list[str]:
        """Files in its temporary directory, and processes that were started with a path in it."""
        files = [str(path) for path in self.folder.iterdir()]
        found = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout
        return files + [line for line in found.splitlines() if str(self.folder) in line]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    demos: list[Demo] = []

    def start_one(*arguments: str) -> Demo:
        demos.append(Demo(tmp_path / f"demo-{len(demos)}", *arguments))
        return demos[-1]

    yield start_one
    for demo in demos:
        demo.process.send_signal(signal.SIGTERM)
        demo.process.wait(30)


@needs_broker
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_results_are_equal_even_if_the_application_is_killed(start: Any) -> None:
    demo: Demo = start("--kill", "3", "--seconds", "15")
    code = demo.ended(280)
    text = demo.text()
    assert code == 0, text
    assert text.count("with SIGKILL, after") == 3
    assert re.search(r"airports, hour by hour +19,486 of +19,486 equal", text)
    assert re.search(r"airlines +16 of +16 equal", text)
    assert re.search(r"flights that came twice +6,778 of +6,778 equal", text)
    assert "EQUAL: 343,554 messages, 3 times killed" in text
    assert demo.left_behind() == []


@needs_broker
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(start: Any, number: signal.Signals) -> None:
    demo: Demo = start("--seconds", "60")
    demo.wait_for("replayed", 60)
    assert demo.left_behind() != []
    demo.process.send_signal(number)
    assert demo.ended(30) == 128 + number
    assert demo.left_behind() == []
    assert "Traceback" not in demo.text()


@pytest.mark.slow
def test_a_broker_that_does_not_answer(start: Any) -> None:
    demo: Demo = start("--broker", "127.0.0.1:1")
    assert demo.ended(60) == 2
    assert "no Kafka answers at 127.0.0.1:1" in demo.text()
    assert demo.left_behind() == []


def test_no_embedded_broker_for_this_machine(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = load("flights/broker.py")
    monkeypatch.setattr(broker, "find_spec", lambda _name: None)
    with pytest.raises(broker.BrokerError, match=r"not installed(.|\n)*BROKER="):
        broker.EmbeddedBroker()


@needs_broker
def test_a_port_that_was_taken_in_between_is_no_trouble(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broker = load("flights/broker.py")
    monkeypatch.setattr(broker.tempfile, "tempdir", str(tmp_path))
    with closing(broker.EmbeddedBroker()) as first:
        taken = int(first.address.rpartition(":")[2])
        ports = iter([taken, broker.free_port()])
        monkeypatch.setattr(broker, "free_port", lambda: next(ports))
        with closing(broker.EmbeddedBroker()) as second:
            assert second.address != first.address
    assert list(tmp_path.iterdir()) == []


@needs_broker
def test_the_reason_is_shown_if_the_broker_does_not_start(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broker = load("flights/broker.py")
    monkeypatch.setattr(broker.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(broker.sys, "executable", "/bin/false")
    with pytest.raises(broker.BrokerError, match="does not run on this machine"):
        broker.EmbeddedBroker()
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_not_installed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = load("flights/feed.py")
    monkeypatch.setattr(feed, "find_spec", lambda _name: None)
    with pytest.raises(feed.DataNotInstalled, match="make demo"):
        feed.flights()
