"""An application gets more partitions and then fewer; its results are those of one that never had others.

The input gains partitions, so that state that is directly on it moves as well (`programs/resharded.py`). The command is
killed at every stage. The comparison is the same program in the test driver.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

import tidemill as tm
from tests.brokers import client
from tests.brokers.client import Row
from tidemill.engine.failpoints import VARIABLE

from .program import PROGRAMS, Program
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(900)]

KILLED = -9
OTHERS = 1_000_000
BEGIN = 1_700_000_000_000
STEP_MS = 7
HOUR_MS = 3_600_000
PHASE = 400

Sent = tuple[str, str, int, int]
"""A record: topic, key, value, timestamp."""


def phase(number: int) -> list[Sent]:
    """Return the records of a phase, two hours after the one before."""
    values = range(number * PHASE, (number + 1) * PHASE)
    return [("data", f"u{value % 53}", value, BEGIN + number * 2 * HOUR_MS + STEP_MS * value) for value in values]


def others(number: int) -> list[Sent]:
    """Return records after those of a phase that move the time of all tasks: windows close, timers are due."""
    at = BEGIN + number * 2 * HOUR_MS + 3 * HOUR_MS // 2
    return [("data", f"x{value}", OTHERS + 1_000 * number + value, at) for value in range(150)]


ITEMS: list[Sent] = [("items", f"i{item}", 100 * item, BEGIN) for item in range(7)]


class Application:
    """The program on a real Kafka."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.program: Program = stage.program(
            "resharded.py", snapshots=f"file://{stage.directory}/snapshots", commit_interval="200ms"
        )

    def send(self, rows: Iterable[Sent]) -> None:
        by_topic: dict[str, list[Row]] = defaultdict(list)
        for topic, key, value, timestamp in rows:
            by_topic[topic].append(Row(key.encode(), struct.pack(">q", value), timestamp=timestamp))
        for topic, mine in by_topic.items():
            client.produce(self.stage.broker, self.stage.name(topic), mine, {"partitioner": "murmur2_random"})

    def processed(self, *parts: Iterable[Sent]) -> None:
        """Run the application, which processes one part of records after the other, and stop it."""
        life = self.program.start()
        for rows in parts:
            self.send(rows)
            client.wait_for(lambda: self.behind() == [], 90, "everything to be processed")
        assert life.stop() == 0

    def behind(self) -> list[str]:
        app, broker = self.stage.app_id, self.stage.broker
        mine = [name for name in self.stage.internal() if name.endswith("-repartition")]
        found: list[str] = []
        for topic in (*mine, self.stage.name("data"), self.stage.name("items")):
            done = client.committed_offsets(broker, app, topic)
            found += [topic for at, end in client.end_offsets(broker, topic).items() if done.get(at, 0) < end]
        return found

    def command(self, *words: str, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        variables = {**self.program.environment(), **({} if failpoint is None else {VARIABLE: failpoint})}
        line = [sys.executable, "-m", "tidemill", *words]
        return subprocess.run(line, check=False, env=variables, capture_output=True, text=True, timeout=150)

    def reshard(self, partitions: int, *words: str, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        asked = ("--partitions", str(partitions), "--yes", *words)
        return self.command("reshard", str(self.program.module), *asked, failpoint=failpoint)

    def results(self) -> dict[tuple[str, str], list[Any]]:
        rows = client.read(self.stage.broker, self.stage.name("results"))
        return by_key((row.key.decode(), json.loads(row.value)) for row in rows if row.key and row.value)


def by_key(rows: Iterable[tuple[str, Any]]) -> dict[tuple[str, str], list[Any]]:
    """Return the results by step and key."""
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for key, (step, value) in rows:
        if not key.startswith(("other", "x")):
            found[step, key].append(value)
    return found


def expected(
    stage: Stage, parts: Iterable[list[Sent]], monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[str, str], list[Any]]:
    """Return the results of the program in the test driver, with four partitions."""
    monkeypatch.setenv("TOPICS", stage.app_id)
    spec = importlib.util.spec_from_file_location("resharded", PROGRAMS / "resharded.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tm.testing.TopologyDriver(module.app, partitions=4) as driver:
        for rows in parts:
            driver.send_all(stage.name(rows[0][0]), [tm.Record(key, value, at) for _, key, value, at in rows])
        written = driver.read(stage.name("results"))
    return by_key((record.key, record.value) for record in written)


ONCE = ("closed", "session", "pairs", "quiet")
"""Steps whose results are compared one by one; of the others, the last result of a key."""


def test_results_do_not_depend_on_partitions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.topics("data", "items", partitions=4)
    stage.topics("results", partitions=1)
    app = Application(stage)
    app.processed(ITEMS, phase(0), others(0))
    # Without new partitions of the input: only what is behind repartition topics would move.
    dry = app.reshard(16, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "sub-topology 0 keeps 4 tasks" in dry.stdout
    client.add_partitions(stage.broker, stage.name("data"), 16)
    refused = app.program.start()
    assert refused.exit(60) == 2
    assert "`tidemill reshard" in refused.log
    before = sorted(stage.internal())
    for nth in (2, 9):
        assert app.reshard(16, failpoint=f"during-reshard:{nth}").returncode == KILLED
        assert sorted(stage.internal()) == before
    for nth in (2, 9):
        assert app.reshard(16, failpoint=f"during-refill:{nth}").returncode == KILLED
    half = app.program.start()
    assert half.exit(60) == 3
    assert "has not been written completely" in half.log
    done = app.reshard(16, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(stage_widths(stage).values()) == {4, 16}
    app.processed(phase(1), others(1))
    done = app.reshard(3, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    moved = json.loads(done.stdout)
    assert all(one["hash"] == one["hash_before"] for one in moved["stores"])
    assert {one["tasks"] for one in moved["stores"]} >= {3}
    app.processed(phase(2), others(2))
    sent = [ITEMS, *(rows for number in range(3) for rows in (phase(number), others(number)))]
    wanted, found = expected(stage, sent, monkeypatch), app.results()
    assert sorted(found.keys() ^ wanted.keys()) == []
    for (step, key), values in wanted.items():
        if step == "first":  # which record of a key comes first depends on the order of partitions
            assert len(found[step, key]) == 1, (step, key)
        elif step in ONCE:
            assert sorted(map(repr, found[step, key])) == sorted(map(repr, values)), (step, key)
        else:
            assert found[step, key][-1] == values[-1], (step, key)


def stage_widths(stage: Stage) -> dict[str, int]:
    there = client.topics(stage.broker)
    return {name: there[name] for name in stage.internal()}
