"""A year of flights into Iceberg, Delta and Parquet, queried by Spark SQL and DuckDB.

    make lake [BROKER=host:port] [KILL=1]

Exits 0 only if all answers are equal, and equal to those from the file of flights. With KILL, the program is killed
three times on the way.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from queries import by_duckdb, by_python, by_spark

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "flights"))
kafka: Any = import_module("broker")
"""The broker and the topics of the example in examples/flights; its data too."""
feed: Any = import_module("feed")
replays: Any = import_module("replay")

TOPIC = f"{kafka.PREFIX}-flights"
PARTITIONS = 4
SECONDS = 20
"""How long the replay of the year takes."""
PATIENCE = 600


def main() -> int:
    parser = argparse.ArgumentParser(description="Flights into Iceberg, asked by Spark SQL and DuckDB.")
    parser.add_argument(
        "--broker", default=os.environ.get("BROKER") or None, help="a Kafka to use; else one is started"
    )
    parser.add_argument(
        "--jars", type=Path, required=True, help="a folder with the jars of Iceberg and SQLite for Spark"
    )
    parser.add_argument("--kill", action="store_true", default=bool(os.environ.get("KILL")))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidemill-lake-") as folder:
        embedded = None if options.broker else kafka.EmbeddedBroker()
        try:
            address = str(options.broker) if embedded is None else embedded.address
            return demonstrate(Path(folder), address, options.jars, options.kill)
        finally:
            if embedded is not None:
                embedded.close()


def demonstrate(folder: Path, broker: str, jars: Path, kill: bool) -> int:
    catalog = {
        "name": "lake",
        "type": "sql",
        "uri": f"sqlite:///{folder}/catalog.db",
        "warehouse": f"file://{folder}/tables",
    }
    events = feed.flights()
    admin = kafka.connect(broker)
    kafka.create_topics(admin, [TOPIC], PARTITIONS, 1)
    command = [sys.executable, str(HERE / "app.py"), "--broker", broker, "--state-dir", str(folder / "state")]
    environment = {**os.environ, "LAKE": str(folder)}
    replay = replays.Replay(broker, TOPIC, events, SECONDS)
    program = subprocess.Popen(command, env=environment)
    try:
        replay.start()
        kills, began = 0, time.monotonic()
        while (written := rows(catalog)) < len(events) or behind(catalog, folder) < len(events):
            print(f"{replay.sent:,} flights sent, {written:,} in the lake", flush=True)
            if replay.failure or time.monotonic() - began > PATIENCE:
                print(replay.failure or f"the flights were not in the lake after {PATIENCE} s")
                return 1
            if kill and kills < 3 and written > (kills + 1) * len(events) / 5:
                kills += 1
                program.kill()
                program.wait()
                print(f"the program was killed, and starts again ({kills})", flush=True)
                program = subprocess.Popen(command, env=environment)
            time.sleep(2)
        program.send_signal(signal.SIGTERM)
        program.wait(60)
    finally:
        replay.close()
        program.kill()
        program.wait()
        kafka.delete_topics(admin)
    print(f"{rows(catalog):,} flights are in the lake; DuckDB and Spark SQL are asked (about a minute)", flush=True)
    return compare(catalog, folder, jars)


def rows(catalog: dict[str, str]) -> int:
    """Return how many flights the lake has."""
    try:
        return load_catalog(**catalog).load_table("lake.flights").scan().count()
    except NoSuchTableError:
        return 0


def totals(catalog: dict[str, str]) -> int:
    """Return how many flights the totals of the airlines have counted."""
    try:
        table = load_catalog(**catalog).load_table("lake.airlines").scan().to_arrow()
    except NoSuchTableError:
        return 0
    return sum(table.column("flights").to_pylist())


def behind(catalog: dict[str, str], folder: Path) -> int:
    """Return how many flights the table, dataset or totals have that are furthest behind."""
    counts = [totals(catalog), 0, 0, 0]
    if DeltaTable.is_deltatable(f"{folder}/delta/flights"):
        counts[1] = DeltaTable(f"{folder}/delta/flights").to_pyarrow_dataset().count_rows()
    if DeltaTable.is_deltatable(f"{folder}/delta/airlines"):
        counts[2] = sum(DeltaTable(f"{folder}/delta/airlines").to_pyarrow_table().column("flights").to_pylist())
    if (folder / "parquet/flights").exists():
        counts[3] = ds.dataset(folder / "parquet/flights", partitioning="hive").count_rows()
    return min(counts)


def compare(catalog: dict[str, str], folder: Path, jars: Path) -> int:
    """Print whether all answers are equal; return the exit code."""
    answers = {"DuckDB": by_duckdb(catalog), **by_spark(catalog, folder, jars)}
    expected = by_python()
    wrong = 0
    for question, right in expected.items():
        for who, given in answers.items():
            if question not in given:
                continue
            equal = given[question] == right
            wrong += not equal
            print(f"{'equal' if equal else 'OTHER'}: {question}, {len(right)} rows, by {who}")
            if not equal:
                print(f"  {given[question][:3]} and not {right[:3]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
