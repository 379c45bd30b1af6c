"""The command line: runs the selected jobs on the selected engines and writes the results."""

from __future__ import annotations

import datetime
import itertools
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import psutil
from rich.console import Console

from bench import broker as brokers
from bench import input as bench_input
from bench import latency, recovery, report, results, throughput
from bench.engines import ENGINES, Engine, Unavailable
from bench.events import JOBS, Expected, Shape, expected
from bench.results import Latency, Recovery, Report, Run, Throughput
from bench.running import Died, Setup
from bench.verify import Wrong

__all__ = ["main"]

_RESULTS = Path(__file__).resolve().parent / "results"
_EVERY_JOB = (*JOBS, "latency", "recovery")


class _Words(click.ParamType):
    """A comma-separated list of allowed words."""

    name = "list"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(self, value: str | list[str], param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        words = [word.strip() for word in value.split(",") if word.strip()]
        for word in words:
            if word not in self._known:
                self.fail(f"{word!r} is none of {', '.join(self._known)}", param, ctx)
        return words


class _Interval(click.ParamType):
    """A duration such as `100ms` or `1s`, converted to ms."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        for unit, factor in (("ms", 1), ("s", 1000)):
            if value.endswith(unit) and value.removesuffix(unit).replace(".", "", 1).isdigit():
                return round(float(value.removesuffix(unit)) * factor)
        return self.fail(f"{value!r} is not a duration such as 100ms or 1s", param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--jobs",
    type=_Words(_EVERY_JOB),
    default="J1,J2,J3",
    show_default=True,
    help="Comma-separated: " + ", ".join(_EVERY_JOB),
)
@click.option(
    "--engines",
    type=_Words(tuple(ENGINES)),
    default="tidemill",
    show_default=True,
    help="Comma-separated: " + ", ".join(ENGINES),
)
@click.option("--records", default=2_000_000, show_default=True, help="Records of the input of the jobs J1 to J7.")
@click.option("--keys", default=20_000, show_default=True, help="Distinct keys of the input.")
@click.option("--guarantee", type=_Words(("exactly_once", "at_least_once")), default="exactly_once", show_default=True)
@click.option("--commit-interval", type=_Interval(), default="1s", show_default=True, help="For example 100ms or 1s.")
@click.option(
    "--outputs",
    type=_Words(("update", "commit")),
    default="update",
    show_default=True,
    help="One output per input, or one per key and commit.",
)
@click.option("--rounds", default=1, show_default=True, help="Runs of each job; engines alternate within a round.")
@click.option("--rate", default=5_000, show_default=True, help="Records per second of the latency job.")
@click.option("--seconds", default=20, show_default=True, help="Duration of the measurement of the latency job.")
@click.option("--recovery-keys", default=1_000_000, show_default=True, help="Keys of the recovery job.")
@click.option(
    "--client",
    "client_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the engines' Kafka clients, such as session.timeout.ms=10000.",
)
@click.option("--broker", help="The host:port of a running Kafka. Default: start a temporary one.")
@click.option("--out", type=click.Path(path_type=Path), default=_RESULTS, help="The folder for the results.")
@click.option("--name", default="", help="The name of the results. Default: the names of the jobs.")
@click.option("--save/--no-save", default=True, help="Whether to write the results to files.")
def main(
    jobs: list[str], engines: list[str], records: int, keys: int, guarantee: list[str], commit_interval: int,
    outputs: list[str], rounds: int, rate: int, seconds: int, recovery_keys: int, client_settings: tuple[str, ...],
    broker: str | None, out: Path, name: str, save: bool,
) -> None:  # fmt: skip
    """Run jobs on engines over a real Kafka, verify their outputs and report measurements."""
    console = Console(stderr=True)
    commands = _prepare(console, engines)
    kafka = dict(setting.split("=", 1) for setting in client_settings)
    shape = Shape(records, keys)
    runs: list[Run] = []
    answers: dict[str, Expected] = {}
    with brokers.running(broker) as (cluster, description):
        if any(job in JOBS for job in jobs):
            console.print(f"Input: {records:,} records ...")
            bench_input.ensure(cluster.broker, shape)
            answers = {job: expected(shape, job) for job in jobs if job in JOBS}
        turns = itertools.product(range(1, rounds + 1), jobs, outputs, guarantee, commands)
        for number, job, kind, level, engine_name in turns:
            engine = ENGINES[engine_name]
            inner = {"latency": "J2", "recovery": "profiles"}.get(job, job)
            setup = Setup(inner, level, commit_interval, kind, kafka)
            if not engine.supports(setup.job, level, kind):
                continue
            outcomes: list[tuple[Throughput | Latency | Recovery | None, str]] = []
            with console.status(f"{engine.title}, {job}, {level}, round {number} ..."):
                try:
                    found: Iterable[Throughput | Latency | Recovery]
                    if job == "latency":
                        found = [latency.run(cluster, commands[engine.name], setup, rate, seconds, keys)]
                    elif job == "recovery":
                        patterns = (engine.replayed_pattern, engine.snapshot_pattern)
                        found = recovery.run(cluster, commands[engine.name], setup, recovery_keys, *patterns)
                    else:
                        command, right = commands[engine.name], answers[job]
                        found = [
                            throughput.run(cluster, command, setup, shape, right, repartitions=engine.repartitions)
                        ]
                    outcomes.extend((result, "") for result in found)
                except (Died, Wrong) as problem:
                    outcomes.append((None, f"{type(problem).__name__}: {problem}"))
            for result, error in outcomes:
                run = Run(engine.name, engine.version(), job, level, commit_interval, kind, number, result, error)
                runs.append(run)
                console.print(report.line(run), soft_wrap=True)
    made = _report(description, shape, kafka, runs)
    sheet = Console() if sys.stdout.isatty() else Console(width=140)
    for table in report.tables(made):
        sheet.print(table)
    if save and runs:
        path = out / f"{made.made[:10]}-{name or '-'.join(jobs)}.json"
        results.save(made, path)
        path.with_suffix(".md").write_text(report.markdown(made))
        console.print(f"Written: {path} and {path.with_suffix('.md').name}")
    if any(run.result is None for run in runs):
        raise SystemExit(1)


def _prepare(console: Console, engines: list[str]) -> dict[str, list[str]]:
    """Return the command of each available engine and print why others are not available.

    Raises:
        ClickException: No engine is available.
    """
    commands: dict[str, list[str]] = {}
    for name in engines:
        engine: Engine = ENGINES[name]
        with console.status(f"Installing {engine.title} {engine.version()} ..."):
            try:
                commands[name] = engine.prepare()
            except Unavailable as reason:
                console.print(f"{engine.title} is not available: {reason}")
    if not commands:
        raise click.ClickException("none of the selected engines is available")
    return commands


def _report(broker: str, shape: Shape, kafka: dict[str, str], runs: list[Run]) -> Report:
    memory = psutil.virtual_memory().total / 2**30
    return Report(
        command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        made=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        machine=f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}",
        python=f"Python {platform.python_version()}",
        broker=broker,
        source=_source(),
        records=shape.records,
        keys=shape.keys,
        seed=shape.seed,
        settings=kafka,
        runs=runs,
    )


def _source() -> str:
    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=_RESULTS.parent, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "..") else "")
