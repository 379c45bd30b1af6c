"""The program `programs/many_hops.py` on a real Kafka, with continuous input, and commands for its savepoints."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Producer

from tests.brokers import client
from tidemill.engine.failpoints import VARIABLE

from .program import Program
from .stage import Stage

__all__ = ["KILLED", "PARTITIONS", "READY", "Hops", "expected"]

PARTITIONS = 2
RATE = 400
KILLED = -9
TIMERS_SECONDS = 6.0
READY = '"replayed":'


class Input:
    """Writes consecutive numbers continuously; the event time follows the wall clock."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._producer = Producer({"bootstrap.servers": stage.broker, "partitioner": "murmur2_random"})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.made = 0
        for item in range(7):
            self._send("items", f"i{item}", 100 * item, 1_000)
        self._thread.start()

    def stop(self) -> int:
        """Stop the input after a number for each key of each step, and return the count."""
        self._stopping.set()
        self._thread.join()
        for _ in range(4 * 37 * 11):
            self._next()
        self._producer.flush()
        return self.made

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            for _ in range(RATE // 20):
                self._next()
            self._producer.flush()

    def _next(self) -> None:
        self._send("data", f"u{self.made % 50}", self.made, int(time.time() * 1000))
        self.made += 1

    def _send(self, topic: str, key: str, value: int, timestamp: int) -> None:
        self._producer.produce(self._stage.name(topic), struct.pack(">q", value), key, timestamp=timestamp)
        self._producer.poll(0)


class Hops:
    """Runs instances of the program with any application id, and commands."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.module = stage.program("many_hops.py").module
        self.common: dict[str, Any] = {
            "snapshots": f"file://{stage.directory}/snapshots",
            "snapshot_interval": "3s",
            "commit_interval": "200ms",
            "session_timeout": "6s",
        }
        stage.topics("data", "items", "results", "forked", "restored", partitions=PARTITIONS)
        self.input = Input(stage)

    def instance(self, name: str, app_id: str, results: str) -> Program:
        return self.stage.program(
            "many_hops.py",
            name=name,
            variables={"RESULTS": self.stage.name(results)},
            app_id=app_id,
            state_dir=self.stage.directory / f"state-{name}",
            **self.common,
        )

    def command(self, *arguments: str, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of `tidemill savepoint` for the program."""
        return self.tidemill("savepoint", arguments[0], str(self.module), *arguments[1:], failpoint=failpoint)

    def tidemill(self, *arguments: str, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of `tidemill`."""
        program = self.stage.program("many_hops.py", **self.common)
        variables = {**program.environment(), **({} if failpoint is None else {VARIABLE: failpoint})}
        words = [sys.executable, "-m", "tidemill", *arguments]
        return subprocess.run(words, check=False, env=variables, capture_output=True, text=True, timeout=150)

    def done(self, *arguments: str) -> Any:
        """Run a command that must succeed, and return its JSON result."""
        ended = self.command(*arguments, "--json")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def killed(self, *arguments: str, failpoint: str) -> None:
        ended = self.command(*arguments, failpoint=failpoint)
        assert ended.returncode == KILLED, ended.stdout + ended.stderr

    def settle(self, app_id: str) -> None:
        """Wait until everything is processed, including timers, which fire as the watermark follows the clock."""
        client.wait_for(lambda: self._behind(app_id) == [], 90, f"{app_id} to process everything")
        time.sleep(TIMERS_SECONDS)
        client.wait_for(lambda: self._behind(app_id) == [], 90, f"{app_id} to process what its timers wrote")

    def _behind(self, app_id: str) -> list[str]:
        topics = client.topics(self.stage.broker)
        mine = [name for name in topics if name.startswith(f"{app_id}-") and name.endswith("-repartition")]
        mine = [name for name in mine if app_id.endswith("-fork") or not name.startswith(f"{app_id}-fork-")]
        behind: list[str] = []
        for topic in (*mine, self.stage.name("data")):
            done = client.committed_offsets(self.stage.broker, app_id, topic)
            behind += [
                topic for at, end in client.end_offsets(self.stage.broker, topic).items() if done.get(at, 0) < end
            ]
        return behind

    def final(self, topic: str) -> dict[tuple[str, str], Any]:
        """Return the last result per step and key."""
        found: dict[tuple[str, str], Any] = {}
        for row in client.read(self.stage.broker, self.stage.name(topic)):
            assert row.key is not None
            assert row.value is not None
            step, value = json.loads(row.value)
            found[step, row.key.decode()] = value
        return found

    def unread(self, savepoint: Mapping[str, Any]) -> list[int]:
        """Return the numbers that were not read yet at a savepoint."""
        topic = self.stage.name("data")
        at = {one["partition"]: one["offset"] for one in savepoint["inputs"] if one["topic"] == topic}
        rows = client.read(self.stage.broker, topic)
        return [struct.unpack(">q", row.value)[0] for row in rows if row.value and row.offset >= at[row.partition]]

    def pairs(self, topic: str) -> list[str]:
        """Return the keys of joined pairs, as often as they were written."""
        rows = client.read(self.stage.broker, self.stage.name(topic))
        return [
            row.key.decode() for row in rows if row.key is not None and json.loads(row.value or b"[0]")[0] == "pairs"
        ]


def expected(made: int) -> Mapping[tuple[str, str], int]:
    """Return the final results of numbers below `made`, for all steps but windows and the foreign-key join."""
    counts = [len(range(b, made, 37)) for b in range(37)]
    return {
        **{("count", f"b{b}"): count for b, count in enumerate(counts)},
        **{("total", f"b{b}"): sum(range(b, made, 37)) for b in range(37)},
        **{("quiet", f"q{q}"): sum(range(q, made, 11)) for q in range(11)},
        **{
            ("digits", f"d{d}"): sum(len(range(d or 5, len(range(b, made, 37)) + 1, 5)) for b in range(37))
            for d in range(5)
        },
    }
