"""The demo: process a year of flights, and compare all results with a batch computation.

    python examples/flights/demo.py [--broker HOST:PORT] [--kill [N]] [--seconds N]

The exit code is 0 only if all results are equal. The environment variables BROKER, KILL and REPLAY_SECONDS are the
defaults of the options, as in `make demo KILL=1`. All processes are stopped and all files deleted at the end, also
after Ctrl-C.
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
from broker import PREFIX, BrokerError, EmbeddedBroker, connect, create_topics, delete_topics
from display import Display, LineDisplay, TerminalDisplay
from monitor import Monitor
from replay import Replay
from results import AIRLINES, HOURS, REPEATS, Results
from rich.console import Console
from verify import report, verify

FLIGHTS = f"{PREFIX}-flights"
PARTITIONS = 6
REFRESH_SECONDS = 0.25
"""The time between two updates of the display."""


class DemoFailed(Exception):
    """The demo cannot continue; the message says why."""


class Interrupted(Exception):
    """A signal has requested the end of the demo."""

    def __init__(self, number: int) -> None:
        self.number = number


def main() -> int:
    options = arguments()
    console = Console(highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with ExitStack() as stack:
            try:
                return run_demo(options, console, stack)
            finally:
                ignore_signals()  # cleanup has time limits and must not be interrupted
    except (DemoFailed, BrokerError, feed.DataNotInstalled) as problem:
        console.print(f"\n{problem}\n", style="red", markup=False, soft_wrap=True)
        return 1 if isinstance(problem, DemoFailed) else 2
    except Interrupted as interrupted:
        console.print("\nInterrupted; all processes have been stopped and all files deleted.")
        return 128 + interrupted.number


def arguments() -> argparse.Namespace:
    """Parse the command line; environment variables are the defaults."""
    parser = argparse.ArgumentParser(
        description="Process a year of flights as a stream, and compare all results with a batch computation."
    )
    parser.add_argument("--broker", default=os.environ.get("BROKER"), help="address of a Kafka; default: start one")
    kill = "kill the application with SIGKILL during the replay: 5 times if N is 1, otherwise N times"
    kills, seconds = os.environ.get("KILL") or "0", os.environ.get("REPLAY_SECONDS") or "40"
    parser.add_argument("--kill", nargs="?", type=int, const=1, default=kills, metavar="N", help=kill)
    parser.add_argument("--seconds", type=float, default=seconds, help="duration of the replay")
    options = parser.parse_args()
    options.kill = 5 if options.kill == 1 else options.kill
    return options


def interrupt(number: int, frame: FrameType | None) -> None:
    ignore_signals()
    raise Interrupted(number)


def ignore_signals() -> None:
    """Ignore further signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def run_demo(options: argparse.Namespace, console: Console, stack: ExitStack) -> int:
    """Run the demo and return its exit code; cleanup is registered on `stack`."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="tidemill-demo-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)

    address, embedded = prepare_broker(options, console, stack)
    flights = feed.flights()
    events = list(feed.with_repeats(flights))
    console.print(
        f"{len(flights):,} flights out of New York in 2013; {len(events) - len(flights):,} of them will be sent twice."
    )

    app = Application(address, folder)
    stack.callback(app.stop)
    app.start()
    replay = Replay(address, FLIGHTS, events, options.seconds)
    stack.callback(replay.close)
    results = Results(address)
    stack.callback(results.close)
    monitor = Monitor(connect(address), FLIGHTS, replay, app, results)
    stack.callback(monitor.close)
    for thread in (replay, results, monitor):
        thread.start()

    display = make_display(console, options, embedded)
    try:
        wait_for_results(options.kill, display, app, monitor, len(flights), embedded)
    finally:
        display.close()
    results.close()
    code = app.stop()
    if code != 0:
        raise DemoFailed(f"The application exited with code {code} when it was stopped. {log_of(app)}")
    console.print("Reading all results back, and computing them again with Polars ...")
    comparisons = verify(address, events)
    for line in report(comparisons):
        console.print(line, style=None if line.startswith("  ") else "bold", markup=False, soft_wrap=True)
    equal = all(comparison.passed for comparison in comparisons)
    killed = f", {monitor.kills} times killed with SIGKILL" if monitor.kills else ""
    console.print(
        f"\n{'EQUAL' if equal else 'NOT EQUAL'}: {monitor.replay.sent:,} messages{killed}, "
        f"{time.monotonic() - started:.0f} s in all.\n",
        style="bold green" if equal else "bold red",
    )
    return 0 if equal else 1


def prepare_broker(
    options: argparse.Namespace, console: Console, stack: ExitStack
) -> tuple[str, EmbeddedBroker | None]:
    """Start the embedded broker, unless another one is given, and create the topics."""
    embedded = None if options.broker else EmbeddedBroker()
    if embedded:
        stack.callback(embedded.close)
    address = embedded.address if embedded else str(options.broker)
    admin = connect(address)
    create_topics(admin, [FLIGHTS, HOURS, AIRLINES, REPEATS], PARTITIONS, replicas=1 if embedded else -1)
    if not embedded:
        stack.callback(delete_topics, admin)
    console.print(f"Kafka: {'the embedded broker, ' if embedded else ''}{address}")
    return address, embedded


def make_display(console: Console, options: argparse.Namespace, embedded: EmbeddedBroker | None) -> Display:
    """Return a display that suits the console: a table on a terminal, lines elsewhere."""
    if not console.is_terminal:
        return LineDisplay(console)
    title = f"flights out of New York, 2013 · {'embedded broker' if embedded else options.broker}"
    return TerminalDisplay(console, title, feed.names("airports.csv", "faa"), feed.names("airlines.csv", "carrier"))


def wait_for_results(
    kills: int, display: Display, app: Application, monitor: Monitor, flights: int, embedded: EmbeddedBroker | None
) -> None:
    """Show the progress until all results are committed, and kill the application as scheduled."""
    replay, results = monitor.replay, monitor.results
    schedule = KillSchedule(kills, len(replay.events))
    changed_at, seen = time.monotonic(), (0, 0)
    while True:
        display.show(monitor.status())
        time.sleep(REFRESH_SECONDS)
        if embedded and embedded.exited():
            raise DemoFailed(f"The embedded broker exited unexpectedly. Its log ends with:\n{embedded.log_tail()}")
        if replay.failure or results.failure:
            raise DemoFailed(f"Kafka failed: {replay.failure or results.failure}")
        if app.exit_code() is not None:
            raise DemoFailed(f"The application exited unexpectedly with code {app.exit_code()}. {log_of(app)}")
        if schedule.is_due(replay.sent, monitor.processed):
            kill_and_restart(display, app, monitor)
        if (results.updates, monitor.processed) != seen:
            seen, changed_at = (results.updates, monitor.processed), time.monotonic()
        unchanged = time.monotonic() - changed_at
        complete = results.by_hour == results.by_airline == flights
        if replay.done and monitor.processed == replay.sent and (complete or unchanged > 15) and not schedule.remaining:
            display.show(monitor.status())
            return  # the comparison reports missing results
        if unchanged > 60:
            raise DemoFailed(f"There was no progress for a minute. {log_of(app)}")


class KillSchedule:
    """The times at which the application is killed, at random over the replay.

    A process is killed only after it has committed something and has then run for a random time.
    """

    def __init__(self, kills: int, messages: int) -> None:
        chance = self._chance = random.Random()
        self.remaining = [messages * (n + chance.uniform(0.2, 0.8)) / (kills + 0.5) for n in range(kills)]
        """The numbers of sent messages after which the remaining kills are due."""
        self._processed = 0
        self._not_before: float | None = None

    def is_due(self, sent: int, processed: int) -> bool:
        """Return whether the application is to be killed now, and remove that kill."""
        if not self.remaining or sent < self.remaining[0] or processed <= self._processed:
            return False
        if self._not_before is None:
            self._not_before = time.monotonic() + self._chance.uniform(0, 2)
        if time.monotonic() < self._not_before:
            return False
        self.remaining.pop(0)
        self._processed, self._not_before = processed, None
        return True


def log_of(app: Application) -> str:
    """Return the end of the application's log, for a message."""
    return f"The application's log ends with:\n{app.log_tail()}"


def kill_and_restart(display: Display, app: Application, monitor: Monitor) -> None:
    """Kill the application with SIGKILL, and start it again after a short time."""
    app.kill()
    monitor.kills += 1
    display.message(f"killed process {app.pid} with SIGKILL, after {monitor.processed:,} messages")
    for _ in range(3):
        display.show(monitor.status())
        time.sleep(REFRESH_SECONDS)
    app.start()


if __name__ == "__main__":
    sys.exit(main())
