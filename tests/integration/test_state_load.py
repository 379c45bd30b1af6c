"""An application continues from the result of a batch, which was loaded as a savepoint."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.brokers import client
from tests.brokers.client import Row
from tidemill.engine.failpoints import VARIABLE

from .program import Program
from .stage import Stage

pytestmark = pytest.mark.timeout(180)

PARTITIONS = 3
KEYS = 20


def tidemill(
    program: Program, *arguments: str | Path, failpoint: str | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {**program.environment(), **({} if failpoint is None else {VARIABLE: failpoint})}
    words = [sys.executable, "-m", "tidemill", *map(str, arguments)]
    return subprocess.run(words, check=False, env=variables, capture_output=True, text=True, timeout=120)


def done(program: Program, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    ended = tidemill(program, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


@pytest.mark.parametrize("partitioner", ["murmur2_random", "consistent_random"])
def test_counts_continue_from_a_file(stage: Stage, partitioner: str) -> None:
    stage.topics("data", "counts", partitions=PARTITIONS)
    sent: Counter[str] = Counter()

    def feed(rounds: int) -> None:
        rows = [Row(f"k{number % KEYS}".encode(), b"x") for number in range(KEYS * rounds)]
        client.produce(stage.broker, stage.name("data"), rows, {"partitioner": partitioner})
        sent.update(row.key.decode() for row in rows if row.key is not None)

    feed(5)
    batch = stage.directory / "batch.jsonl"
    batch.write_text("".join(json.dumps({"key": key, "value": count}) + "\n" for key, count in sent.items()))
    ends = client.end_offsets(stage.broker, stage.name("data"))
    offsets = [word for at, end in ends.items() for word in ("--offset", f"{stage.name('data')}:{at}={end}")]
    feed(1)
    program = stage.program("keyed.py", snapshots=f"file://{stage.directory}/snapshots", commit_interval="100ms")
    load = ("state", "load", program.module, "count", batch, "--as", "batch", *offsets)
    for nth in (1, 2):
        assert tidemill(program, *load, failpoint=f"during-load:{nth}").returncode == -9
        assert json.loads(done(program, "savepoint", "list", program.module, "--json").stdout) == []
    made = json.loads(done(program, *load, "--json").stdout)
    assert made["rows"] == KEYS
    assert made["partitioner"] == ("murmur2" if partitioner == "murmur2_random" else "CRC32")
    other = "crc32" if made["partitioner"] == "murmur2" else "murmur2"
    wrong = tidemill(program, *load[:4], batch, "--partitioner", other)
    assert wrong.returncode == 2
    assert "and they lie where" in wrong.stderr
    dumped = done(program, "state", "dump", program.module, "count", "--from", "batch")
    assert {row["key"]: row["value"] for row in map(json.loads, dumped.stdout.splitlines())} == dict.fromkeys(sent, 5)
    done(program, "savepoint", "restore", program.module, "batch", "--yes")
    life = program.start()
    stage.wait_for_rows("counts", KEYS, 60)
    feed(1)
    rows = stage.wait_for_rows("counts", 2 * KEYS, 60)
    assert life.stop() == 0
    counts = [(row.key.decode(), struct.unpack(">q", row.value)[0]) for row in rows if row.key and row.value]
    assert sorted(counts) == sorted((key, count) for key in sent for count in (6, 7))
    local = done(program, "state", "dump", program.module, "count")
    assert {row["key"]: row["value"] for row in map(json.loads, local.stdout.splitlines())} == dict(sent)
