"""`python -m tests.chaos`: run rounds of random faults for a given time, and print a report.

A long run consists of rounds, each with a separate application on the same brokers, verified before the next round
starts, so it can run for days. The seed of a round follows from the seed of the run; a round is repeated by its own
seed. The exit code is 1 after a violation; then all files are kept.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.brokers.choice import choose
from tests.brokers.kafka import Kafka
from tidemill.operators.time.durations import parse_duration

from .run import Glance, Order, Result, last_words, play
from .schedule import SLOTS, plain

LONGEST_ROUND = 300.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--duration", default="3m", show_default=True, help="How long faults are inflicted: 90s, 3m, 8h.")
@click.option("--seed", type=int, help="The seed of the first round; chance if not given.")
@click.option("--rate", default=500, show_default=True, help="Transfers a second.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the instances.")
@click.option("--snapshots", is_flag=True, help="Snapshots take the place of changelogs; their store is lost at times.")
@click.option("--plan", is_flag=True, help="Only prints the schedule of the first round.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where logs stay, also when nothing was violated.")
def main(
    duration: str,
    seed: int | None,
    rate: int,
    settings: tuple[str, ...],
    snapshots: bool,
    plan: bool,
    keep: Path | None,
) -> None:
    """Inject faults into an application and its brokers, and verify that nothing was lost, duplicated or invented."""
    seconds = parse_duration(duration) / 1000
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    chosen = dict(setting.split("=", 1) for setting in settings)
    rounds = max(1, round(seconds / LONGEST_ROUND))
    orders = [Order(each, seconds / rounds, rate, chosen, snapshots) for each in seeds(seed, rounds)]
    if plan:
        print(plain(orders[0].schedule()))
        return
    directory = keep or Path(tempfile.mkdtemp(prefix="tidemill-chaos-"))
    console = Console(soft_wrap=True)
    kafka = choose(download=True).start_cluster(ways=SLOTS)
    results: list[Result] = []
    try:
        for number, order in enumerate(orders, 1):
            console.print(f"Round {number} of {rounds}: {order.duration:.0f} s, seed {order.seed}")
            console.print(plain(order.schedule()), highlight=False)
            results.append(watched(console, kafka, directory / f"round-{number:03d}", order))
            if results[-1].violations:
                break
            if keep is None:
                shutil.rmtree(directory / f"round-{number:03d}")
        failed = bool(results[-1].violations)
        if failed or keep is not None:
            for node in kafka.nodes:
                shutil.copy(node.log, directory / f"broker-{node.bootstrap.rpartition(':')[2]}.log")
    finally:
        kafka.close()
    report(console, results)
    if failed:
        last = results[-1]
        console.print(last_words(directory / f"round-{len(results):03d}"), markup=False, highlight=False)
        for violation in last.violations:
            console.print(f"VIOLATION: {violation}", style="bold red", markup=False)
        order = last.order
        console.print(
            f"Everything is kept in {directory}. Again: make chaos SEED={order.seed} DURATION={order.duration:.0f}s"
            f"{order.option}",
            style="bold",
        )
        sys.exit(1)
    if keep is None:
        shutil.rmtree(directory)


def seeds(seed: int, rounds: int) -> list[int]:
    """Return the seeds of the rounds; the first is that of the run."""
    chance = random.Random(seed)
    return [seed, *(chance.getrandbits(32) for _ in range(rounds - 1))]


def watched(console: Console, kafka: Kafka, directory: Path, order: Order) -> Result:
    """Run a round with a live status line on a terminal, or else an occasional line."""
    app_id = f"chaos-{order.seed}-{time.time_ns() // 1_000_000_000 % 100_000}"
    with Live("", console=console, refresh_per_second=4, transient=True) as live:
        told = time.monotonic()

        def show(now: Glance) -> None:
            nonlocal told
            line = (
                f"{now.elapsed:5.0f} of {order.duration:.0f} s  {now.made:,} transfers written, {now.seen:,} receipts "
                f"read, {now.alive} instances alive, {now.faults} faults"
            )
            if console.is_terminal:
                live.update(line)
            elif time.monotonic() - told > 10:
                told = time.monotonic()
                console.print(line, highlight=False)

        result = play(kafka, app_id, directory, order, lambda line: console.print(line, highlight=False), show)
    verdict = f"{len(result.violations)} violations" if result.violations else "nothing violated"
    console.print(f"Round ended: {verdict}\n", style="bold red" if result.violations else "bold green")
    return result


def report(console: Console, results: list[Result]) -> None:
    """Print the faults and the results."""
    faults: Counter[str] = Counter()
    for result in results:
        faults += result.faults
    table = Table(title="Faults", show_header=False)
    for kind, count in sorted(faults.items()):
        table.add_row(kind, str(count))
    table.add_row("all", str(faults.total()), style="bold")
    left_out = sum(result.left_out.total() for result in results)
    table.add_row("left out, as brokers had not recovered", str(left_out))
    console.print(table)
    table = Table(title="Results", show_header=False)
    table.add_row("seeds", ", ".join(str(result.order.seed) for result in results))
    table.add_row("transfers written", f"{sum(result.records for result in results):,}")
    table.add_row("receipts read, committed", f"{sum(result.outputs for result in results):,}")
    table.add_row("tasks opened", f"{sum(result.openings for result in results):,}")
    table.add_row("longest outage by partition", longest(result.silences for result in results))
    table.add_row("of Kafka itself, which took no input", longest(result.kafka_silences for result in results))
    starts = [seconds for result in results for seconds in result.starts]
    never = sum(result.never for result in results)
    table.add_row("slowest start of an instance", f"{max(starts, default=0):.1f} s; {never} never took part")
    recoveries = [seconds for result in results for seconds in result.recoveries]
    table.add_row("slowest recovery of the brokers", f"{max(recoveries, default=0):.1f} s")
    table.add_row("caught up after the last fault in", f"{max(result.caught_up for result in results):.1f} s")
    table.add_row("violations", str(sum(len(result.violations) for result in results)), style="bold")
    console.print(table)


def longest(silences: Iterable[list[float]]) -> str:
    """Return the longest silence of all rounds, by partition."""
    found = [max(each) for each in zip(*(each for each in silences if each), strict=True)]
    return ", ".join(f"{seconds:.1f} s" for seconds in found)


if __name__ == "__main__":
    main()
