"""Spark on the same Kafka: a windowed job in both, input from Spark, and results and state read by Spark.

The programs are those of docs/from_spark.md.
"""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tests.support.peers import code, on_request, python, running, spark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MINUTE = 60_000
Windows = dict[tuple[str, int], tuple[int, float]]
"""Count and total by user and start of the window."""


def views(count: int = 600) -> list[tuple[int, dict[str, Any]]]:
    """Views of ten minutes with their times, which are out of order by up to 5 s."""
    draw = random.Random(6)
    users, kinds = [f"user {number}" for number in range(12)], ("view", "buy", "cart")
    begin = (int(time.time() * 1000) // MINUTE - 30) * MINUTE
    return [
        (
            begin + number * 1000 - draw.randrange(5000),
            {"user": draw.choice(users), "kind": draw.choice(kinds), "amount": draw.randrange(100) / 4},
        )
        for number in range(count)
    ]


def expected(records: list[tuple[int, dict[str, Any]]]) -> Windows:
    totals: Windows = {}
    for at, each in records:
        if each["kind"] != "cart":
            place = each["user"], at // MINUTE * MINUTE
            count, total = totals.get(place, (0, 0.0))
            totals[place] = count + 1, total + each["amount"]
    return totals


def last(rows: list[client.Row]) -> Windows:
    """The last result of each window, as either program writes it."""
    found: Windows = {}
    for row in rows:
        assert row.key is not None
        assert row.value is not None
        value = json.loads(row.value)
        if "start" in value:
            place = row.key.decode(), value["start"]
        else:
            place = row.key[:-8].decode(), int.from_bytes(row.key[-8:], "big")
        found[place] = value["count"], value["total"]
    return found


def program(text: str, path: Path, topics: Mapping[str, str]) -> Path:
    """Write a program, with the names of its topics."""
    for name, real in topics.items():
        for before, after in (('"subscribe", ', ")"), ('"topic", ', ")"), ("stream(", ","), (".to(", ",")):
            text = text.replace(f'{before}"{name}"{after}', f'{before}"{real}"{after}')
    path.write_text(text)
    return path


def in_spark(path: Path, **variables: str) -> str:
    """Run a program of PySpark to its end, and return what it printed."""
    told = subprocess.run(
        [python("spark"), str(path)],
        env={**os.environ, **spark(), **variables},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    return told.stdout


def wait_for(results: Windows, kafka: Kafka, topic: str, directory: Path) -> None:
    """Wait until a topic has these results."""
    try:
        client.wait_for(lambda: last(client.read(kafka.bootstrap, topic)) == results, 120, "the results")
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{(directory / 'log').read_text()[-3000:]}") from error


@pytest.fixture
def feed(kafka: Kafka, topic: Callable[..., str]) -> tuple[str, Windows]:
    """A topic with the views, and the results for them."""
    incoming, records = topic("views", 2), views()
    rows = [client.Row(each["user"].encode(), json.dumps(each).encode(), timestamp=at) for at, each in records]
    client.produce(kafka.bootstrap, incoming, rows)
    return incoming, expected(records)


def undecided(kafka: Kafka, name: str, topic: str) -> Any:
    """Write a record in a transaction, and leave it open."""
    producer = client.transactional_producer(kafka.bootstrap, name, {"transaction.timeout.ms": 600_000})
    producer.begin_transaction()
    producer.produce(topic, b"nobody" + bytes(8), b'{"count": 1, "total": 1.0}', partition=0)
    producer.flush(30)
    return producer


def settings(kafka: Kafka, directory: Path, app_id: str) -> dict[str, str]:
    directory.mkdir()
    return {
        "TIDEMILL_BROKER": kafka.bootstrap,
        "TIDEMILL_APP_ID": app_id,
        "TIDEMILL_STATE_DIR": str(directory / "state"),
        "TIDEMILL_SNAPSHOTS": f"file://{directory}/snapshots",
    }


def test_the_windows_in_tidemill(
    kafka: Kafka, feed: tuple[str, Windows], topic: Callable[..., str], app_id: str, tmp_path: Path
) -> None:
    incoming, results = feed
    outgoing, where = topic("totals", 2), tmp_path / "tidemill"
    variables = settings(kafka, where, app_id)
    path = program(code("spark", "python", "views.py"), where / "views.py", {"views": incoming, "totals": outgoing})
    with running([sys.executable, str(path)], where, **variables):
        wait_for(results, kafka, outgoing, where)


@on_request
def test_the_windows_in_spark_beside_those_in_tidemill(
    kafka: Kafka, feed: tuple[str, Windows], topic: Callable[..., str], app_id: str, tmp_path: Path
) -> None:
    incoming, results = feed
    ours, theirs = topic("ours", 2), topic("theirs", 2)
    where, there = tmp_path / "tidemill", tmp_path / "spark"
    variables = settings(kafka, where, app_id)
    there.mkdir()
    path = program(code("spark", "python", "views.py"), where / "views.py", {"views": incoming, "totals": ours})
    job = program(code("spark", "python", "peer"), there / "job.py", {"views": incoming, "totals": theirs})
    peer = {**spark(), "BROKER": kafka.bootstrap, "STATE": str(there / "state")}
    with running([sys.executable, str(path)], where, **variables), running([python("spark"), str(job)], there, **peer):
        wait_for(results, kafka, ours, where)
        wait_for(results, kafka, theirs, there)


@on_request
def test_spark_writes_the_input_and_reads_committed_results_and_a_savepoint(
    kafka: Kafka, topic: Callable[..., str], app_id: str, tmp_path: Path
) -> None:
    incoming, outgoing = topic("views", 2), topic("totals", 2)
    names = {"views": incoming, "totals": outgoing}
    where = tmp_path / "program"
    variables = settings(kafka, where, app_id)
    path = program(code("spark", "python", "views.py"), where / "views.py", names)
    lines = tmp_path / "views.json"
    lines.write_text("\n".join(json.dumps(each) for _, each in views()))
    in_spark(
        program(code("spark", "python", "peer", 1), tmp_path / "input.py", names),
        BROKER=kafka.bootstrap,
        VIEWS=str(lines),
    )
    sent = client.read(kafka.bootstrap, incoming)
    results = expected([(row.timestamp, json.loads(row.value or b"")) for row in sent])
    assert sum(count for count, _ in results.values()) == sum(each["kind"] != "cart" for _, each in views())

    with running([sys.executable, str(path)], where, **variables, TIDEMILL_FAILPOINT="after-send-offsets:2") as life:
        assert life.wait(60) == -9, (where / "log").read_text()[-3000:]
    tidemill = [sys.executable, "-m", "tidemill"]
    with running([sys.executable, str(path)], where, **variables):
        wait_for(results, kafka, outgoing, where)
        create = [*tidemill, "savepoint", "create", str(path), "tuesday"]
        subprocess.run(create, env={**os.environ, **variables}, check=True, timeout=120)
    aborted = undecided(kafka, f"{app_id}-aborted", outgoing)
    aborted.abort_transaction()
    still_open = undecided(kafka, f"{app_id}-open", outgoing)
    committed = client.read(kafka.bootstrap, outgoing)
    assert len(client.read(kafka.bootstrap, outgoing, committed=False)) >= len(committed) + 2
    dump = tmp_path / "totals.parquet"
    command = [*tidemill, "state", "dump", str(path), "totals", "--from", "tuesday", "--output", str(dump)]
    subprocess.run(command, env={**os.environ, **variables}, check=True, timeout=120)

    told = in_spark(
        program(code("spark", "python", "peer", 2), tmp_path / "results.py", names),
        BROKER=kafka.bootstrap,
        DUMP=str(dump),
    )
    still_open.abort_transaction()
    assert f"records {len(committed)}\n" in told
    rows = [ast.literal_eval(line.removeprefix("row ")) for line in told.splitlines() if line.startswith("row ")]
    for part in ("last", "stored"):
        found = {(row["user"], row["start"]): tuple(row[part].values()) for row in rows}
        assert found == results, part
