"""CPU time per record of a program on a topic and on files with the same records.

    python -m bench.histories                                   # a Kafka is started for it
    python -m bench.histories --programs read,count --records 500000 --rounds 5

Each run is a process of its own that runs the program as a batch. Its CPU time is that of all its threads, so it
includes Kafka's client. That of the same program with 100 records is subtracted: the start, the files and the end. The
programs:

    read    a filter that no record passes: reading alone
    count   a count per key, in a store with a changelog
    map     one field changed, each record written to another topic
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

import tidemill as tm
from bench import broker as brokers
from bench import input as bench_input
from bench.events import Event, Shape, events
from bench.running import Cluster

__all__ = ["main"]

PROGRAMS: Final = ("read", "count", "map")
SOURCES: Final = ("topic", "files")
FEW: Final = 100
PARTITIONS: Final = 4
FILES: Final = 4
ROW_GROUP: Final = 100_000


class View(msgspec.Struct):
    user: str
    amount: float
    ts: int
    kind: str
    note: str


def raised(view: View) -> View:
    return View(view.user, view.amount * 1.2, view.ts, view.kind, view.note)


def run(program: str, topic: str, files: str | None, output: str) -> None:
    """Run a program as the process of this call, and print its CPU seconds at the end."""
    app = tm.App(f"{output}-app")
    history = None if files is None else tm.history(f"file://{files}/*.parquet", key="user", timestamp="ts")
    until = None if files is None else dict.fromkeys(range(PARTITIONS), 0)
    views = app.stream(topic, key=tm.utf8, value=tm.json(View), history=history, until=until)
    if program == "read":
        views.filter(lambda view: view.ts < 0).to(output)
    elif program == "count":
        views.group_by_key().count().named("counts")
    else:
        views.map(raised).to(output)
    try:
        app.main()
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"cpu {used.ru_utime + used.ru_stime}", flush=True)


def write_files(folder: Path, found: Iterable[Event]) -> None:
    """Write events in the order in which they are in the topic, to several files."""
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    rows = [msgspec.json.decode(value) for _, value, _ in found]
    folder.mkdir()
    for number in range(FILES):
        part = rows[len(rows) * number // FILES : len(rows) * (number + 1) // FILES]
        pq.write_table(pa.Table.from_pylist(part), folder / f"{number}.parquet", row_group_size=ROW_GROUP)


class Runs:
    """The runs of the programs on one cluster."""

    def __init__(self, cluster: Cluster, home: Path, records: int) -> None:
        self._cluster = cluster
        self._home = home
        self._number = 0
        self._topics: dict[int, str] = {}
        for count in (FEW, records):
            shape = Shape(records)
            write_files(home / str(count), islice(events(shape), count))
            self._topics[count] = f"bench-history-{os.getpid()}-{count}"
            cluster.topics.create(self._topics[count], PARTITIONS)
            bench_input.write(cluster.broker, self._topics[count], islice(events(shape), count))
        self._topics[0] = f"bench-history-{os.getpid()}-none"
        cluster.topics.create(self._topics[0], PARTITIONS)

    def cpu(self, program: str, source: str, count: int) -> float:
        """Return the CPU seconds of one run."""
        self._number += 1
        output = f"bench-history-{os.getpid()}-run-{self._number}."
        self._cluster.topics.create(output, PARTITIONS)
        files = [] if source == "topic" else [str(self._home / str(count))]
        topic = self._topics[count if source == "topic" else 0]
        done = subprocess.run(
            [sys.executable, "-m", "bench.histories", "--serve", program, topic, output, *files],
            env={
                **os.environ,
                "TIDEMILL_BROKER": self._cluster.broker,
                "TIDEMILL_STATE_DIR": str(self._home / output),
                "TIDEMILL_COMMIT_INTERVAL": "1s",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self._cluster.topics.delete_containing(output)
        last = done.stdout.strip().rpartition("\n")[2]
        if done.returncode or not last.startswith("cpu "):
            raise SystemExit(f"{program} on {source} failed ({done.returncode}):\n{done.stdout}{done.stderr[-3000:]}")
        return float(last[4:])


def measured(runs: Runs, program: str, records: int, rounds: int) -> Iterator[tuple[float, float]]:
    """Yield the CPU time per record on the topic and on the files, in µs, of each round."""
    for _ in range(rounds):
        each = [
            (runs.cpu(program, source, records) - runs.cpu(program, source, FEW)) / (records - FEW) * 1e6
            for source in SOURCES
        ]
        yield each[0], each[1]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.histories", description="CPU time of histories per record")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="programs, separated by commas")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", help="the host:port of a running Kafka")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    asked: Any = parser.parse_args()
    if asked.serve:
        program, topic, output, *files = asked.serve
        sys.argv[1:] = ["--batch"]
        run(program, topic, files[0] if files else None, output)
        return
    with tempfile.TemporaryDirectory() as home, brokers.running(asked.broker) as (cluster, description):
        runs = Runs(cluster, Path(home), asked.records)
        print(f"{asked.records:,} records, {asked.rounds} round(s), {description}; µs of CPU per record, medians")
        for program in asked.programs.split(","):
            rounds = list(measured(runs, program, asked.records, asked.rounds))
            live, files = (median(column) for column in zip(*rounds, strict=True))
            ratio = median(one / other for one, other in rounds)
            print(f"{program:8} topic {live:6.2f}   files {files:6.2f}   {ratio:5.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
