"""The times that faults interrupt processing: `python -m bench.failover`.

The results are medians over rounds and are used in docs/faults.md. Each scenario is a small application (echo, minimum
and sum by key; four partitions; 300 records per second) of two or more instances over a real Kafka, with Tidemill's
defaults unless the name says otherwise. A read-committed consumer observes the outputs; "back" is the time until each
partition has a result of a record that was written after the fault. State is small, so restore times are negligible.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tests.brokers import apache, client
from tests.brokers.hosts import Network, Unavailable
from tests.brokers.kafka import Kafka
from tests.integration.fleet import PARTITIONS, Fleet, readied
from tests.integration.program import Life
from tests.integration.stage import Stage
from tests.integration.watch import Moment

Figures = dict[str, float]
TIMEOUT = 120.0
REPLACED = re.compile("membership lost|giving up this membership")
SHORT: dict[str, Any] = {"session_timeout": "10s", "heartbeat_interval": "1s"}


@contextmanager
def fleet(kafka: Kafka, directory: Path, **settings: Any) -> Iterator[Fleet]:
    """Yield the fleet of a new application, with input and an observer of its outputs."""
    stage = Stage(kafka, f"failover-{uuid.uuid4().hex[:8]}", directory)
    try:
        with Fleet(stage, **{"session_timeout": "45s", "commit_interval": "100ms", **settings}) as made:
            yield made
    finally:
        stage.close()


def until(condition: Callable[[], object], since: Moment) -> float:
    """Return the seconds from a moment until a condition is true."""
    while not condition():
        if time.monotonic() - since.monotonic > TIMEOUT:
            raise TimeoutError(f"the condition is not true after {TIMEOUT:.0f} s")
        time.sleep(0.01)
    return time.monotonic() - since.monotonic


def killed(kafka: Kafka, directory: Path, **settings: Any) -> Figures:
    """Kill one of two instances with SIGKILL while a transaction is open."""
    module = settings.pop("module", "echo_min_sum.py")
    with fleet(kafka, directory, commit_interval="1s", **settings) as made:
        first, second = made.start(*(made.instance(name, module) for name in ("one", "two")))
        time.sleep(3)  # for standbys to follow
        moment = made.kill_in_transaction(second)
        knows = until(lambda: len(client.members(kafka.bootstrap, made.stage.app_id)) == 1, moment)
        back = max(made.watch.wait_until_back(moment, TIMEOUT))
        second.exit()
        made.stop([first])
        made.judge()
    return {"the group knows": knows, "back": back}


def killed_with_standby(kafka: Kafka, directory: Path) -> Figures:
    """Kill one of two instances, with a standby."""
    return {"back, with a standby": killed(kafka, directory, standbys=1)["back"]}


def killed_unfenced(kafka: Kafka, directory: Path) -> Figures:
    """Kill one of two instances without fencing, so that the transaction times out after 60 s."""
    return {"back, without fencing": killed(kafka, directory, module="unfenced.py")["back"]}


def restarted(kafka: Kafka, directory: Path) -> Figures:
    """Kill the only process with SIGKILL and restart it immediately with its state directory."""
    with fleet(kafka, directory, commit_interval="1s") as made:
        place = made.instance("only")
        [life] = made.start(place)
        moment = made.kill_in_transaction(life)
        life.exit()
        again = place.start()
        back = max(made.watch.wait_until_back(moment, TIMEOUT))
        made.stop([again])
        made.judge()
    return {"back after a restart": back}


def stopped(kafka: Kafka, directory: Path) -> Figures:
    """Suspend one of two instances for longer than its session timeout of 10 s, then resume it."""
    with fleet(kafka, directory, **SHORT) as made:
        first, second = made.start(made.instance("one"), made.instance("two"))
        second.child.pause()
        moment = Moment()
        back = max(made.watch.wait_until_back(moment, TIMEOUT))
        before = len(readied(second))
        second.child.resume()
        figures = {"back, session 10 s": back, **returned(second, before)}
        made.stop([first, second])
        made.judge()
    return figures


def returned(life: Life, before: int) -> Figures:
    """Return the times until a replaced process knows that it was, and until it has tasks again."""
    moment = Moment()
    knows = until(lambda: REPLACED.search(life.log), moment)
    return {"it knows after": knows, "it works again after": until(lambda: len(readied(life)) > before, moment)}


def cut_off(direction: str) -> Callable[[Kafka, Path], Figures]:
    """Cut the network between one of two instances and the brokers, in one or both directions."""

    def run(_: Kafka, directory: Path) -> Figures:
        own = apache.start_one(ways=1)
        try:
            with fleet(own, directory, **SHORT) as made:
                lives = made.start(made.instance("one"), made.instance("two", broker=own.ways[0].address))
                own.proxy.cut(direction)  # pyright: ignore[reportArgumentType]
                back = max(made.watch.wait_until_back(Moment(), TIMEOUT))
                before = len(readied(lives[1]))
                own.proxy.heal()
                figures = {"back, session 10 s": back, **returned(lives[1], before)}
                made.stop(lives)
                made.judge()
        finally:
            own.close()
        return figures

    return run


def vanished(_: Kafka, directory: Path) -> Figures:
    """Disconnect the host of one of two instances: a network namespace whose link is down."""
    try:
        with Network(2) as network:
            own = apache.start_one(host=network.address)
            try:
                with fleet(own, directory, **SHORT) as made:
                    places = [made.instance(f"host-{number}") for number in range(2)]
                    lives: list[Life] = []
                    for place, host in zip(places, network.hosts, strict=True):
                        lives.append(place.start(prefix=host.prefix))
                        lives[-1].wait_for('"replayed":', 60)
                    made.wait_until_shared(2)
                    made.watch.wait_until_back(Moment(), TIMEOUT)
                    network.hosts[1].vanish()
                    back = max(made.watch.wait_until_back(Moment(), TIMEOUT))
                    lives[1].kill()
                    made.stop(lives[:1])
                    made.judge()
            finally:
                own.close()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return {}
    return {"back, session 10 s": back}


def joined(kafka: Kafka, directory: Path) -> Figures:
    """Add a third instance and stop it with SIGTERM; the commit interval is 1 s."""
    with fleet(kafka, directory, commit_interval="1s") as made:
        lives = made.start(made.instance("one"), made.instance("two"))
        moment = Moment()
        third = made.instance("three").start()
        made.wait_until_shared(3)
        made.watch.wait_until_back(Moment(), TIMEOUT)
        [moved] = [int(task.removeprefix("0_")) for task in readied(third)]
        stays = max(made.watch.silence(n, moment.monotonic) for n in range(PARTITIONS) if n != moved)
        moves = made.watch.silence(moved, moment.monotonic)
        third.child.terminate()
        leaves = Moment()
        third.exit()
        made.watch.wait_until_back(Moment(), TIMEOUT)
        figures = {
            "join: silence of partitions that stay": stays,
            "join: silence of the one that moves": moves,
            "leave: silence of the one that moves": made.watch.silence(moved, leaves.monotonic),
            "leave: silence of partitions that stay": max(
                made.watch.silence(n, leaves.monotonic) for n in range(PARTITIONS) if n != moved
            ),
        }
        made.stop(lives)
        made.judge()
    return figures


SCENARIOS: dict[str, Callable[[Kafka, Path], Figures]] = {
    "killed": killed,
    "killed, standby": killed_with_standby,
    "killed, no fencing": killed_unfenced,
    "killed and restarted": restarted,
    "stopped": stopped,
    "cut off, both ways": cut_off("both"),
    "cut off, to the brokers": cut_off("to_broker"),
    "cut off, from the brokers": cut_off("to_client"),
    "host vanished": vanished,
    "join and leave": joined,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", default="", help="Run only scenarios whose names contain this.")
@click.option("--out", type=click.Path(path_type=Path), help="The file for the table, in Markdown.")
def main(rounds: int, only: str, out: Path | None) -> None:
    """Measure how long faults interrupt processing."""
    console = Console(stderr=True)
    chosen = {name: run for name, run in SCENARIOS.items() if only in name}
    found: dict[tuple[str, str], list[float]] = {}
    loads: list[float] = []
    kafka = apache.start_one()
    try:
        for number in range(1, rounds + 1):
            for name, run in chosen.items():
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
                    figures = run(kafka, Path(directory))
                loads.append(os.getloadavg()[0])
                console.print(f"round {number}, {name}: {figures}, load {loads[-1]:.1f}", highlight=False)
                for what, seconds in figures.items():
                    found.setdefault((name, what), []).append(seconds)
    finally:
        kafka.close()
    table = markdown(found, rounds, loads)
    print(table)
    if out is not None:
        out.write_text(table)


def markdown(found: dict[tuple[str, str], list[float]], rounds: int, loads: Sequence[float]) -> str:
    """Return the results as a table in Markdown."""
    made = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        f"`python -m bench.failover --rounds {rounds}`, {made}. {os.cpu_count()} cores with a load average of",
        f"{min(loads):.1f} to {max(loads):.1f}. Seconds.",
        "",
        "| fault | what | median | least | most |",
        "|---|---|---|---|---|",
    ]
    for (name, what), seconds in found.items():
        lines.append(
            f"| {name} | {what} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
