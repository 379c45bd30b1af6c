"""An application and its shadow on a real Kafka, with continuous input."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from typing import Any

from confluent_kafka import Producer

from tests.brokers import client
from tidemill.engine.failpoints import VARIABLE

from .program import Program
from .stage import Stage

__all__ = ["KILLED", "READY", "Input", "Versions"]

PARTITIONS = 3
RATE = 600
KEYS = 60
KILLED = -9
READY = '"replayed":'


class Input:
    """Writes consecutive numbers continuously, each key to one partition."""

    def __init__(self, stage: Stage) -> None:
        self._topic = stage.name("data")
        self._producer = Producer({"bootstrap.servers": stage.broker, "partitioner": "murmur2_random"})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.made = 0
        self._thread.start()

    def stop(self) -> int:
        """Stop, and return how many numbers were written."""
        self._stopping.set()
        self._thread.join()
        self._producer.flush()
        return self.made

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            for _ in range(RATE // 20):
                key, now = f"u{self.made % KEYS}", int(time.time() * 1000)
                self._producer.produce(self._topic, struct.pack(">q", self.made), key, timestamp=now)
                self.made += 1
            self._producer.flush()


class Versions:
    """Runs versions of the program, and commands."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.old = stage.app_id
        self.module = stage.program("blue_green.py").module
        self.common: dict[str, Any] = {
            "snapshots": f"file://{stage.directory}/snapshots",
            "snapshot_interval": "5s",
            "commit_interval": "100ms",
            "session_timeout": "6s",
        }
        stage.topics("data", "totals", "seen", partitions=PARTITIONS)
        self.input = Input(stage)

    def instance(self, name: str, app_id: str, log: str | None = None, **variables: str) -> Program:
        """Return an instance by the name of its state; `log` is the name of its logs, if it is another one."""
        return self.stage.program(
            "blue_green.py",
            name=log or name,
            variables=variables,
            app_id=app_id,
            state_dir=self.stage.directory / f"state-{name}",
            **self.common,
        )

    def command(
        self, *words: str, failpoint: str | None = None, app_id: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `tidemill`; "APP" stands for the program."""
        common = {**self.common, "app_id": app_id or self.old}
        program = self.stage.program("blue_green.py", variables=variables, **common)
        more = {} if failpoint is None else {VARIABLE: failpoint}
        argv = [sys.executable, "-m", "tidemill", *(str(self.module) if word == "APP" else word for word in words)]
        environment = {**program.environment(), **more}
        return subprocess.run(argv, check=False, env=environment, capture_output=True, text=True, timeout=240)

    def done(self, *words: str, code: int = 0) -> Any:
        """Run a command, and return its JSON result."""
        ended = self.command(*words, "--json")
        assert ended.returncode == code, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def fork(self, savepoint: str, new: str, **variables: str) -> Any:
        words = ("savepoint", "fork", "APP", savepoint, "--as", new, "--follow", "--json")
        ended = self.command(*words, **variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def rows(self, topic: str) -> list[tuple[str, int]]:
        """Return the committed records of an output topic."""
        found = client.read(self.stage.broker, topic)
        return [(row.key.decode(), struct.unpack(">q", row.value)[0]) for row in found if row.key and row.value]

    def outputs(self, made: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return all totals and all seen inputs, sorted, when there are as many as inputs at least."""
        topics = self.stage.name("totals"), self.stage.name("seen")
        client.wait_for(lambda: all(len(self.rows(topic)) >= made for topic in topics), 60, "all outputs")
        totals, seen = (sorted(self.rows(topic)) for topic in topics)
        return totals, seen

    def reference(self, made: int, *, second: bool = False) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return all totals and all seen inputs of one version, sorted."""
        sums: dict[str, int] = {}
        totals: list[tuple[str, int]] = []
        for number in range(made):
            key = f"g-u{number % KEYS}"
            sums[key] = sums.get(key, 0) + number
            totals.append((key, 2 * sums[key] if second and key.endswith("7") else sums[key]))
        seen = [(f"u{number % KEYS}", number) for number in range(made) if not (second and number % 10 == 0)]
        return sorted(totals), sorted(seen)
