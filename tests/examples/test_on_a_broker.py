"""Tests of the main examples as users run them: a process, a real broker, topics with several partitions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tests.brokers.process import Child, spawn, tail
from tests.docs.snippets import ROOT, files, snippets

from .conftest import EXAMPLES

MINUTE = 60_000
APPLICATIONS = ("views-", "word-count-", "cards-")
"""Beginnings of the names of internal topics."""


class Stage:
    """Runs an example, and sends and reads its topics, whose names are those in the example."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.address = kafka.bootstrap
        self.folder = folder
        self.topics: list[str] = []
        self.child: Child | None = None

    def start(self, example: str | Path, *topics: str, partitions: int = 3) -> None:
        for topic in topics:
            client.create_topic(self.address, topic, partitions, config={"retention.ms": "-1"})
            self.topics.append(topic)
        command = [sys.executable, str(EXAMPLES / example), "--broker", self.address]
        command += ["--state-dir", str(self.folder / "state")]
        self.child = spawn(command, log=self.folder / "log")

    def send(self, topic: str, rows: Sequence[tuple[str | None, Any, int]]) -> None:
        """Key, value and event time; a value that is no text is sent as JSON."""
        client.produce(
            self.address,
            topic,
            [
                client.Row(
                    None if key is None else key.encode(),
                    (value if isinstance(value, str) else json.dumps(value)).encode(),
                    timestamp=time,
                )
                for key, value, time in rows
            ],
        )

    def read(self, topic: str, count: int) -> list[client.Row]:
        """All committed records of a topic, when there are as many as expected."""
        found: list[client.Row] = []

        def there() -> bool:
            assert self.child is not None
            assert self.child.poll() is None, tail(self.child.log)
            found[:] = client.read(self.address, topic)
            return len(found) >= count

        client.wait_for(there, 40, f"{count} records in {topic}")
        return found

    def stop(self) -> int:
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(20)

    def close(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
        for topic in client.topics(self.address):
            if topic in self.topics or topic.startswith(APPLICATIONS):
                client.delete_topic(self.address, topic)


@pytest.fixture
def stage(kafka: Kafka, tmp_path: Path) -> Iterator[Stage]:
    if kafka.kind == "running":
        pytest.skip("left out: the topics of the examples might be in use on a shared broker")
    stage = Stage(kafka, tmp_path)
    yield stage
    stage.close()


def test_the_first_steps_of_the_readme(stage: Stage) -> None:
    readme = ROOT / "README.md"
    programs = files(readme)
    for name, text in programs.items():
        (stage.folder / name).write_text(text.replace("localhost:9092", stage.address))
    stage.topics += ["views", "totals"]
    stage.start(stage.folder / "views.py")
    tried = spawn([sys.executable, str(stage.folder / "try.py")], log=stage.folder / "tried")
    promised = next(snippet.text for snippet in snippets(readme) if snippet.language == "text")
    client.wait_for(lambda: len(tried.log.read_text().splitlines()) >= 3, 60, "three results")
    tried.kill()
    assert tried.log.read_text() == promised
    assert stage.stop() == 0


def test_first_program(stage: Stage) -> None:
    stage.start("01_first_program.py", "views", "totals")
    rows = [
        ("k", {"user": f"u{n % 5}", "kind": "cart" if n % 10 == 0 else "buy", "amount": 1.5}, n) for n in range(100)
    ]
    stage.send("views", rows)
    found = stage.read("totals", 90)
    assert len(found) == 90
    last = {row.key: json.loads(row.value or b"") for row in found}
    window = (0).to_bytes(8, "big")
    assert last[b"u1" + window] == {"count": 20, "total": 30.0}
    assert last[b"u0" + window] == {"count": 10, "total": 15.0}
    assert stage.stop() == 0


def test_word_count(stage: Stage) -> None:
    stage.start("02_word_count.py", "lines", "word-counts")
    stage.send("lines", [(None, "to be or not to be", 0), (None, "not now", 0)])
    last = {row.key: int.from_bytes(row.value or b"", "big") for row in stage.read("word-counts", 8)}
    assert last == {b"to": 2, b"be": 2, b"or": 1, b"not": 2, b"now": 1}
    assert stage.stop() == 0


def test_processor_keeps_its_state_over_a_kill(stage: Stage) -> None:
    stage.start("04_processor.py", "payments", "warnings", "large-sums")
    stage.send("payments", [("4711", {"country": "FR", "amount": 600}, 0), ("4711", {"country": "JP", "amount": 1}, 1)])
    stage.read("warnings", 1)
    assert stage.child is not None
    stage.child.kill()
    stage.start("04_processor.py")
    stage.send("payments", [("4711", {"country": "FR", "amount": 500}, 30 * MINUTE)])
    warnings = [row.value for row in stage.read("warnings", 2)]
    assert warnings[1] == b"card 4711: JP and FR within 29 minutes"
    assert json.loads(stage.read("large-sums", 1)[0].value or b"") == {"country": "FR", "spent": 1100}
    assert stage.stop() == 0
