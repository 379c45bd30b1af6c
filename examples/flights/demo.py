"""The demonstration: a year of flights through a Tidemill application, held against a batch computation at the end.

    python examples/flights/demo.py [--broker HOST:PORT] [--kill [N]] [--seconds N]

Exits 0 only if every result is equal. The variables BROKER, KILL and REPLAY_SECONDS do the same as the options; that is
what `make demo KILL=1` uses. Everything it starts it also stops, Ctrl-C included, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import feed
from application import Application
from broker import PREFIX, Embedded, NoBroker, make_topics, reach, remove_topics
from judge import judge, report
from replay import Replay
from results import AIRLINES, HOURS, REPEATS, Results
from rich.console import Console
from view import Lines, Screen, View
from watch import Watch

FLIGHTS = f"{PREFIX}-flights"
PARTITIONS = 6
MOMENT = 0.25
"""Seconds between two pictures."""


class Failed(Exception):
    """The demonstration cannot go on; the message says why."""


class Stopped(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        self.number = number


def main() -> int:
    options = arguments()
    console = Console(highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_on)
    try:
        with ExitStack() as closing:
            try:
                return demonstrate(options, console, closing)
            finally:
                ignore_signals()  # closing is short and bounded, and not to be interrupted
    except (Failed, NoBroker, feed.NoData) as problem:
        console.print(f"\n{problem}\n", style="red", markup=False, soft_wrap=True)
        return 1 if isinstance(problem, Failed) else 2
    except Stopped as stopped:
        console.print("\nStopped; everything that was started is gone again.")
        return 128 + stopped.number


def arguments() -> argparse.Namespace:
    """Command line, with the environment as its defaults."""
    parser = argparse.ArgumentParser(description="A year of flights, streamed, and compared with a batch computation.")
    parser.add_argument("--broker", default=os.environ.get("BROKER"), help="a Kafka to use; else one is started")
    kill = "kill the application with SIGKILL on the way: 1 means 5 times, more means as often as it says"
    kills, seconds = os.environ.get("KILL") or "0", os.environ.get("REPLAY_SECONDS") or "40"
    parser.add_argument("--kill", nargs="?", type=int, const=1, default=kills, metavar="N", help=kill)
    parser.add_argument("--seconds", type=float, default=seconds, help="how long the replay of the year takes")
    options = parser.parse_args()
    options.kill = 5 if options.kill == 1 else options.kill
    return options


def stop_on(number: int, frame: FrameType | None) -> None:
    ignore_signals()
    raise Stopped(number)


def ignore_signals() -> None:
    """Once is enough."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def demonstrate(options: argparse.Namespace, console: Console, closing: ExitStack) -> int:
    """The whole course of events; what it opens goes on `closing`."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="tidemill-demo-"))
    closing.callback(shutil.rmtree, folder, ignore_errors=True)

    address, embedded = broker(options, console, closing)
    flights = feed.flights()
    events = list(feed.with_repeats(flights))
    console.print(
        f"{len(flights):,} flights out of New York in 2013; {len(events) - len(flights):,} of them will be sent twice."
    )

    app = Application(address, folder)
    closing.callback(app.stop)
    app.start()
    replay = Replay(address, FLIGHTS, events, options.seconds)
    closing.callback(replay.close)
    results = Results(address)
    closing.callback(results.close)
    watch = Watch(reach(address), FLIGHTS, replay, app, results)
    closing.callback(watch.close)
    for thread in (replay, results, watch):
        thread.start()

    view = a_view(console, options, embedded)
    try:
        follow(options.kill, view, app, watch, len(flights), embedded)
    finally:
        view.close()
    results.close()
    code = app.stop()
    if code != 0:
        raise Failed(f"The application ended with exit code {code} when asked to stop. {its_log(app)}")
    console.print("Reading all results back, and computing them once more with Polars ...")
    verdicts = judge(address, events)
    for line in report(verdicts):
        console.print(line, style=None if line.startswith("  ") else "bold", markup=False, soft_wrap=True)
    equal = all(verdict.good for verdict in verdicts)
    killed = f", {watch.kills} times killed with SIGKILL" if watch.kills else ""
    console.print(
        f"\n{'EQUAL' if equal else 'NOT EQUAL'}: {watch.replay.sent:,} messages{killed}, "
        f"{time.monotonic() - began:.0f} s in all.\n",
        style="bold green" if equal else "bold red",
    )
    return 0 if equal else 1


def broker(options: argparse.Namespace, console: Console, closing: ExitStack) -> tuple[str, Embedded | None]:
    """The address of a broker with the demo's topics on it, and the broker if it is the embedded one."""
    embedded = None if options.broker else Embedded()
    if embedded:
        closing.callback(embedded.close)
    address = embedded.address if embedded else str(options.broker)
    admin = reach(address)
    make_topics(admin, [FLIGHTS, HOURS, AIRLINES, REPEATS], PARTITIONS, copies=1 if embedded else -1)
    if not embedded:
        closing.callback(remove_topics, admin)
    console.print(f"Kafka: {'the embedded broker, ' if embedded else ''}{address}")
    return address, embedded


def a_view(console: Console, options: argparse.Namespace, embedded: Embedded | None) -> View:
    """A picture on a terminal, lines elsewhere."""
    if not console.is_terminal:
        return Lines(console)
    title = f"flights out of New York, 2013 · {'embedded broker' if embedded else options.broker}"
    return Screen(console, title, feed.names("airports.csv", "faa"), feed.names("airlines.csv", "carrier"))


def follow(kills: int, view: View, app: Application, watch: Watch, flights: int, embedded: Embedded | None) -> None:
    """Shows the course of it until all results are there, and kills the application on the way if asked to."""
    replay, results = watch.replay, watch.results
    killer = Killer(kills, len(replay.events))
    moved, seen = time.monotonic(), (0, 0)
    while True:
        view.show(watch.moment())
        time.sleep(MOMENT)
        if embedded and embedded.failed():
            raise Failed(f"The embedded broker ended by itself. Its last words:\n{embedded.last_words()}")
        if replay.failure or results.failure:
            raise Failed(f"Kafka failed: {replay.failure or results.failure}")
        if app.exit_code() is not None:
            raise Failed(f"The application ended by itself with exit code {app.exit_code()}. {its_log(app)}")
        if killer.now(replay.sent, watch.processed):
            kill_and_restart(view, app, watch)
        if (results.updates, watch.processed) != seen:
            seen, moved = (results.updates, watch.processed), time.monotonic()
        quiet = time.monotonic() - moved
        everything = results.by_hour == results.by_airline == flights
        if replay.done and watch.processed == replay.sent and (everything or quiet > 15) and not killer.left:
            view.show(watch.moment())
            return  # should something be missing, the comparison will say what
        if quiet > 60:
            raise Failed(f"Nothing has moved for a minute. {its_log(app)}")


class Killer:
    """Decides when the application is killed: at random moments spread over the replay, each time not before the life
    at hand has committed something and gone on for a random while."""

    def __init__(self, times: int, messages: int) -> None:
        chance = self._chance = random.Random()
        self.left = [messages * (n + chance.uniform(0.2, 0.8)) / (times + 0.5) for n in range(times)]
        """After how many messages sent the remaining kills are due."""
        self._reached = 0
        self._not_before: float | None = None

    def now(self, sent: int, processed: int) -> bool:
        """Whether this is the moment."""
        if not self.left or sent < self.left[0] or processed <= self._reached:
            return False
        if self._not_before is None:
            self._not_before = time.monotonic() + self._chance.uniform(0, 2)
        if time.monotonic() < self._not_before:
            return False
        self.left.pop(0)
        self._reached, self._not_before = processed, None
        return True


def its_log(app: Application) -> str:
    """The end of the application's log, for a message."""
    return f"The application's log ends with:\n{app.last_words()}"


def kill_and_restart(view: View, app: Application, watch: Watch) -> None:
    """SIGKILL and, a moment later, a new process."""
    app.kill()
    watch.kills += 1
    view.say(f"killed process {app.pid} with SIGKILL, after {watch.processed:,} messages")
    for _ in range(3):
        view.show(watch.moment())
        time.sleep(MOMENT)
    app.start()


if __name__ == "__main__":
    sys.exit(main())
