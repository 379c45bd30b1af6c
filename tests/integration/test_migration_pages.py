"""The programs of docs/from_*.md, run on the same records: the other framework's and ours give the same results.

Each Python framework gets an environment of its own in the user's cache directory, so their programs are run on request
only: TIDEMILL_TEST_PEERS=1. Ours and that of Kafka Streams always are.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tests.support import maven
from tests.support.peers import code, on_request, python, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STREAMS = ("org.apache.kafka:kafka-streams:4.0.0", "com.fasterxml.jackson.core:jackson-databind:2.17.2")
Results = dict[str, tuple[int, float]]


def views(count: int = 400) -> list[dict[str, Any]]:
    draw = random.Random(5)
    users, kinds = [f"user {number}" for number in range(12)], ("view", "buy", "cart")
    return [
        {"user": draw.choice(users), "kind": draw.choice(kinds), "amount": draw.randrange(100) / 4}
        for _ in range(count)
    ]


def expected(records: list[dict[str, Any]]) -> Results:
    totals: Results = {}
    for each in records:
        if each["kind"] != "cart":
            count, total = totals.get(each["user"], (0, 0.0))
            totals[each["user"]] = count + 1, total + each["amount"]
    return totals


def results(kafka: Kafka, topic: str) -> Results:
    """The last result of each user in a topic."""
    found: Results = {}
    for row in client.read(kafka.bootstrap, topic, committed=True):
        assert row.key is not None
        assert row.value is not None
        totals = json.loads(row.value)
        found[row.key.decode()] = totals["count"], totals["total"]
    return found


@pytest.fixture
def topics(kafka: Kafka, topic: Callable[..., str]) -> tuple[str, str]:
    """An input with the records, and an output."""
    incoming, outgoing = topic("views", 2), topic("totals", 2)
    rows = [(each["user"].encode(), json.dumps(each).encode()) for each in views()]
    client.produce(kafka.bootstrap, incoming, rows)
    return incoming, outgoing


def run_on_kafka(kafka: Kafka, topics: tuple[str, str], command: list[str], where: Path, path: Path) -> None:
    """Run a program, with the names of its topics, until its results are those that are expected."""
    text = path.read_text()
    for name, real in zip(("views", "totals"), topics, strict=True):
        text = text.replace(f'"{name}", key', f'"{real}", key').replace(f'stream("{name}"', f'stream("{real}"')
        text = text.replace(f'topic("{name}"', f'topic("{real}"').replace(f'to("{name}"', f'to("{real}"')
        text = text.replace(f'topics=["{name}"]', f'topics=["{real}"]').replace(f'topic="{name}"', f'topic="{real}"')
    path.write_text(text)
    wanted = expected(views())
    environment = {"BROKER": kafka.bootstrap, "STATE": str(where / "state"), "TIDEMILL_BROKER": kafka.bootstrap}
    with running(command, where, **environment):
        try:
            client.wait_for(lambda: results(kafka, topics[1]) == wanted, 120, "the results")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{(where / 'log').read_text()[-3000:]}") from error


def test_the_program_in_tidemill(kafka: Kafka, topics: tuple[str, str], tmp_path: Path) -> None:
    [program] = {code(page, "python", "views.py") for page in ("quix", "bytewax", "kafka_streams", "flink")}
    path = tmp_path / "views.py"
    path.write_text(program)
    command = [sys.executable, str(path), "--state-dir", str(tmp_path / "state")]
    run_on_kafka(kafka, topics, command, tmp_path, path)


@on_request
@pytest.mark.parametrize("page", ["quix", "bytewax"])
def test_the_program_in_python(page: str, kafka: Kafka, topics: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(code(page, "python", "peer"))
    run_on_kafka(kafka, topics, [python(page), str(path)], tmp_path, path)


def test_the_program_in_java(kafka: Kafka, topics: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "Views.java"
    path.write_text(code("kafka_streams", "java", "peer"))
    folder = maven.jars("kafka-streams-4.0.0", STREAMS)
    run_on_kafka(kafka, topics, [maven.java(), "-cp", f"{folder}/*", str(path)], tmp_path, path)


@on_request
def test_the_program_in_flink(tmp_path: Path) -> None:
    program, lines = tmp_path / "program.py", tmp_path / "views"
    program.write_text(code("flink", "python", "peer"))
    lines.write_text("\n".join(json.dumps(each) for each in views()))
    told = subprocess.run(
        [python("flink"), str(program)],
        env={**os.environ, "INPUT": str(lines), "PATH": f"{Path(python('flink')).parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    found: Results = {}
    for line in told.stdout.splitlines():
        user, _, totals = line.partition("\t")
        if totals:
            found[user] = tuple(json.loads(totals).values())
    assert found == expected(views())
