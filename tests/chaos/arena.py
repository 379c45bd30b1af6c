"""The environment of a chaos run: three brokers, the instances with a route to them each, and fault injection.

An `Arena` carries out the acts of a schedule one after the other. It records what it has done to each instance, so that
it can distinguish an injected death from a violation.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from tests.brokers import client
from tests.brokers.kafka import Kafka, Node
from tests.brokers.ways import Way
from tests.integration.program import Life, Program

from .schedule import SESSION, SLOTS, STORE_FAULT, Act

APP = Path(__file__).with_name("app.py")
PARTITIONS = 6
REPLICAS = 3
EXIT_SECONDS = 40.0
LATE_SECONDS = 2.0
"""A broker fault that is delayed by more than this is skipped: its scheduled end would be too soon."""
RECOVERY_SECONDS = 120.0
"""How long brokers may take to recover from a fault."""
EXIT_TOO_LATE = 130
"""The exit code after `stop_timeout`, which may be too short while brokers are unavailable."""


class Violation(Exception):
    """The application violated a guarantee."""


@dataclass
class Instance:
    """An instance slot: its directory, its route to the brokers, and the faults injected into it."""

    program: Program
    way: Way
    clock: Path
    life: Life | None = None
    expected: set[int] = field(default_factory=set[int])
    """Exit codes with which its current process may end, because of injected faults."""
    stops_itself: bool = False
    """It will pause or end at a failpoint, at an unknown time."""
    standing: bool = False
    """It is paused, for as long as scheduled."""

    @property
    def alive(self) -> bool:
        return self.life is not None and self.life.alive()


class Arena:
    """The brokers, the instances, and the acts."""

    def __init__(
        self, kafka: Kafka, app_id: str, directory: Path, settings: Mapping[str, object], tell: Callable[[str], None]
    ) -> None:
        self._store = directory / "snapshots"
        self.kafka = kafka
        self.broker = kafka.bootstrap
        self.app_id = app_id
        self.done: Counter[str] = Counter()
        """The number of injected faults, by kind."""
        self.left_out: Counter[str] = Counter()
        """Broker faults that were skipped, since an earlier one was not over."""
        self.recoveries: list[float] = []
        """Seconds from the end of each broker fault until all replicas were in sync again."""
        self._tell = tell
        self._at_brokers = ThreadPoolExecutor(1, "brokers")
        self._pending: list[Future[Any]] = []
        self._down: list[Node] = []
        self._paused: list[Node] = []
        for topic in ("transfers", "receipts", "statements", "faults"):
            client.create_topic(self.broker, self.name(topic), PARTITIONS, replication=REPLICAS)
        self.instances = [
            self._instance(directory / f"instance-{slot}", kafka.ways[slot], settings) for slot in range(SLOTS)
        ]

    def name(self, topic: str) -> str:
        """Return the full name of a topic."""
        return f"{self.app_id}-{topic}"

    def _instance(self, directory: Path, way: Way, more: Mapping[str, object]) -> Instance:
        directory.mkdir(parents=True)
        clock = directory / "clock"
        clock.write_text("0")
        settings = {
            "app_id": self.app_id,
            "broker": way.address,
            "state_dir": directory / "state",
            "log_format": "json",
            "session_timeout": f"{SESSION:g}s",
            "heartbeat_interval": "1s",
            "replication_factor": REPLICAS,
            "commit_interval": "150ms",
            "transaction_timeout": "60s",
            **more,
        }
        variables = {"TOPICS": self.app_id, "TIDEMILL_TEST_CLOCK": str(clock)}
        return Instance(Program(APP, directory, settings, variables, name="instance"), way, clock)

    # Acts

    def do(self, act: Act) -> None:
        """Carry out one act."""
        if act.fault and (act.slot >= 0 or act.do in ("kill-all", STORE_FAULT)):
            self.done[act.do] += 1
        if act.do in (STORE_FAULT, "store-back"):
            self._move_store(away=act.do == STORE_FAULT)
        elif act.do == "kill-all":
            for instance in self.instances:
                self._kill(instance)
        elif act.slot < 0:
            self._pending.append(self._at_brokers.submit(self._on_brokers, act, time.monotonic()))
        else:
            self._on_instance(self.instances[act.slot], act)

    def _move_store(self, *, away: bool) -> None:
        """Replace the snapshot storage by a dangling link, or restore it."""
        elsewhere = self._store.with_name("snapshots-away")
        if away and self._store.is_dir():
            self._store.rename(elsewhere)
            self._store.symlink_to(self._store)
        elif not away and elsewhere.exists():
            self._store.unlink()
            elsewhere.rename(self._store)

    def _on_instance(self, instance: Instance, act: Act) -> None:
        match act.do:
            case "start":
                self.start(instance)
            case "kill":
                self._kill(instance)
            case "restart":
                self._kill(instance)
                self.start(instance)
            case "die" | "freeze-inside" | "slow-disk":
                self._kill(instance)
                self.start(instance, act.how)
            case "stop":
                if instance.life is not None and instance.life.alive():
                    instance.expected |= {
                        0,
                        EXIT_TOO_LATE,
                        -signal.SIGTERM,
                    }  # the last one for a process that has not started yet
                    instance.life.child.terminate()
            case "freeze" | "freeze-long":
                self._signal(instance, signal.SIGSTOP)
            case "thaw":
                instance.standing = False
                self._signal(instance, signal.SIGCONT)
            case "cut" | "cut-one-way":
                instance.way.cut(act.how)  # pyright: ignore[reportArgumentType]
            case "lag":
                instance.way.delay(float(act.how.split()[0]) / 1000)
            case "heal":
                instance.way.heal()
                instance.way.delay(0)
            case "reset":
                instance.way.close_connections()
            case "clock":
                new = instance.clock.with_suffix(".new")
                new.write_text(act.how.split()[0])
                new.replace(instance.clock)  # atomically: the instance polls this file
            case _:
                raise ValueError(f"unknown act: {act.do}")

    def start(self, instance: Instance, failpoint: str = "") -> None:
        """Start an instance. Its previous process must have ended as expected, or is killed while it is stopping."""
        self._kill(instance)
        self.check(instance)
        instance.standing = instance.stops_itself = failpoint.endswith("=stop")
        instance.expected = {-signal.SIGKILL} if failpoint.endswith("=kill") else set()
        more = {"failpoint": failpoint} if failpoint else {}
        instance.life = instance.program.start(**more)

    def _kill(self, instance: Instance) -> None:
        if instance.life is not None and instance.life.alive():
            instance.expected.add(-signal.SIGKILL)
            instance.life.kill()

    def _signal(self, instance: Instance, number: signal.Signals) -> None:
        if instance.life is not None and instance.life.alive():
            instance.life.child.send_signal(number)

    def check(self, instance: Instance) -> None:
        """Raise Violation if an instance has ended without an injected fault.

        An instance that pauses itself only after its scheduled pause is resumed at once.
        """
        if instance.life is None:
            return
        code = instance.life.child.poll()
        if code is not None and code not in instance.expected:
            raise Violation(
                f"{instance.program.directory.name}, life {instance.life.number}, ended by itself with {code}: see "
                f"{instance.life.child.log}"
            )

    def check_all(self) -> None:
        """Raise the failures so far."""
        for instance in self.instances:
            self.check(instance)
            if instance.stops_itself and not instance.standing:
                self._signal(instance, signal.SIGCONT)
        for future in [one for one in self._pending if one.done()]:
            self._pending.remove(future)
            future.result()

    # Brokers

    def _on_brokers(self, act: Act, due: float) -> None:
        """Inject a broker fault in a separate thread: brokers are slow, and faults of instances continue meanwhile.

        The schedule gives brokers time to recover before the next fault. If they need more, on a slow machine, that
        fault is skipped: without two brokers in sync Kafka accepts no writes, and the outage would not be caused by
        the application.
        """
        if act.do == "broker-back":
            troubled = bool(self._paused or self._down)
            self._back()
            if troubled:
                self._recover()
            return
        late = time.monotonic() - due > LATE_SECONDS
        if late or not client.whole(self.broker, len(self.kafka.nodes)):
            self.left_out[act.do] += 1
            self._tell(f"           {act.do}: left out, the brokers have not recovered from the last one")
            return
        self.done[act.do] += 1
        nodes = self._chosen(act.how)
        self._tell(f"           {act.do}: {', '.join(node.bootstrap for node in nodes)}")
        for node in nodes:
            if act.do == "broker-freeze":
                self._paused.append(node)
                node.pause()
            else:
                self._down.append(node)
                (node.stop if act.do == "broker-stop" else node.kill)()

    def _back(self) -> None:
        paused, down = self._paused, self._down
        self._paused, self._down = [], []
        for node in paused:
            node.resume()
        for node in down:
            node.start()

    def _recover(self) -> None:
        """Wait until the brokers have recovered, and record how long that took.

        First wait until all of them listen: the metadata shows a lost broker only after some seconds.
        """
        began = time.monotonic()
        with suppress(TimeoutError):  # then the next faults are skipped
            self.kafka.wait_ready(RECOVERY_SECONDS)
            client.wait_for(lambda: client.whole(self.broker, len(self.kafka.nodes)), RECOVERY_SECONDS, "the brokers")
        self.recoveries.append(time.monotonic() - began)

    def _chosen(self, role: str) -> list[Node]:
        """Return the brokers that currently have a role, or any broker if the cluster does not respond."""
        found: list[int] = []
        asking: dict[str, Callable[[], int]] = {"leader": self._leader, "coordinator": self._coordinator}
        for one in asking if role == "both" else (role,):
            try:
                found.append(asking[one]())
            except (KafkaException, TimeoutError):
                found.append(1)
        return [self.kafka.nodes[number - 1] for number in dict.fromkeys(found)]

    def _leader(self) -> int:
        topic = self.name("receipts")
        return client.admin(self.broker).list_topics(topic, timeout=5).topics[topic].partitions[0].leader

    def _coordinator(self) -> int:
        return client.coordinator(self.broker, self.app_id)

    # End of the run

    def calm(self) -> None:
        """End all faults: start all brokers, open all routes, run all instances."""
        self._move_store(away=False)
        self._pending.append(self._at_brokers.submit(self._back))
        self.calm_brokers()
        self.kafka.wait_ready()
        for instance in self.instances:
            instance.standing = False
            instance.way.heal()
            instance.way.delay(0)
            self._signal(instance, signal.SIGCONT)
        if not any(instance.alive for instance in self.instances):
            self.start(self.instances[0])

    def calm_brokers(self) -> None:
        """Wait until all broker faults are over."""
        for future in self._pending:
            future.result(60 + RECOVERY_SECONDS)
        self._pending.clear()

    def stop(self) -> None:
        """Stop all instances at the same time, and check that each ends cleanly."""
        for instance in self.instances:
            if instance.alive and instance.life is not None:
                instance.expected |= {0, -signal.SIGTERM}
                instance.life.child.terminate()
        for instance in self.instances:
            self._ended(instance)
            self.check(instance)

    def _ended(self, instance: Instance) -> None:
        """Wait for the end of a process that is stopping."""
        deadline = time.monotonic() + EXIT_SECONDS
        while instance.alive:
            if instance.stops_itself:
                self._signal(instance, signal.SIGCONT)
            if time.monotonic() > deadline:
                raise Violation(f"{instance.program.directory.name} was asked to stop and did not")
            time.sleep(0.05)

    def ask_what_they_do(self) -> None:
        """Make each live instance dump the stacks of its threads to its log."""
        for instance in self.instances:
            self._signal(instance, signal.SIGCONT)
            self._signal(instance, signal.SIGUSR1)
        time.sleep(1)

    def close(self) -> None:
        """Kill all processes that still run."""
        self._at_brokers.shutdown(cancel_futures=True)
        for instance in self.instances:
            instance.program.close()

    def starts(self) -> tuple[list[float], int]:
        """Return the seconds from each start to the first assignment, and the number of processes that ended earlier.

        On a slow machine there are many of the latter, and the work was not done.
        """
        took: list[float] = []
        never = 0
        for life in (life for one in self.instances for life in one.program.lives):
            began = time.time() - (time.monotonic() - life.began)
            plans = (
                e["time"] for e in life.events() if e["logger"] == "tidemill.loop" and "generation" in e["message"]
            )
            first = next(plans, None)
            if first is None:
                never += 1
            else:
                took.append(datetime.fromisoformat(first.replace("Z", "+00:00")).timestamp() - began)
        return took, never

    def openings(self) -> int:
        """Return how often a task was opened, over all processes."""
        return sum(life.log.count('"replayed":') for one in self.instances for life in one.program.lives)
