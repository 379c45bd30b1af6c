"""Run one round: inject the scheduled faults while transfers are written, end all faults, and verify the results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import ormsgpack

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tests.brokers.process import tail
from tests.brokers.transactions import open_transactions
from tests.integration.eos import check, feed, read
from tests.integration.watch import Watch

from .arena import PARTITIONS, Arena, Violation
from .driver import Transfers
from .judge import Evidence, judge
from .schedule import BEGIN, Act, make

CATCH_UP_SECONDS = 120.0
CALM_SECONDS = 3.0
TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Order:
    """The parameters of a round."""

    seed: int
    duration: float
    rate: int
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Settings of the instances, in addition to those of the arena."""
    snapshots: bool = False
    """Whether snapshots are used instead of changelogs."""

    def schedule(self) -> list[Act]:
        return make(self.seed, self.duration, snapshots=self.snapshots)

    @property
    def option(self) -> str:
        """The options of `make chaos`, besides seed and duration, that repeat this round."""
        return " ARGS=--snapshots" if self.snapshots else ""

    def all_settings(self, directory: Path) -> Mapping[str, object]:
        """Return the settings of the instances of a round in a directory."""
        if not self.snapshots:
            return self.settings
        stored = {"durability": "snapshot", "snapshots": f"file://{directory}/snapshots", "snapshot_interval": "1s"}
        return {**stored, **self.settings}


@dataclass
class Result:
    """The result of a round."""

    order: Order
    faults: Counter[str] = field(default_factory=Counter[str])
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Broker faults that were skipped because an earlier one was not over."""
    recoveries: list[float] = field(default_factory=list[float])
    """Seconds that brokers needed to recover from each of their faults."""
    starts: list[float] = field(default_factory=list[float])
    """Seconds from the start of an instance to its first assignment."""
    never: int = 0
    """The number of processes that ended before their first assignment."""
    records: int = 0
    """Transfers written."""
    outputs: int = 0
    """Results that a read_committed consumer saw."""
    openings: int = 0
    silences: list[float] = field(default_factory=list[float])
    """The longest time without a receipt, by partition, in seconds."""
    kafka_silences: list[float] = field(default_factory=list[float])
    """The longest time in which Kafka itself accepted no transfer, by partition, in seconds."""
    caught_up: float = 0.0
    """Seconds from the end of the input until everything was committed."""
    violations: list[str] = field(default_factory=list[str])


Tell = Callable[[str], None]
"""Receives a line of progress output."""


@dataclass(frozen=True)
class Glance:
    """The current status, for progress output."""

    elapsed: float
    made: int
    seen: int
    alive: int
    faults: int


def play(
    kafka: Kafka, app_id: str, directory: Path, order: Order, tell: Tell, show: Callable[[Glance], None]
) -> Result:
    """Run a round and verify it. Violations are in the result; its logs are in the directory."""
    result = Result(order)
    arena = Arena(kafka, app_id, directory, order.all_settings(directory), tell)
    transfers = Transfers(order.seed)
    source = feed.Feed(arena.broker, arena.name("transfers"), rate=order.rate, records=transfers)
    watch = Watch(arena.broker, arena.name("receipts"), PARTITIONS)
    try:
        with watch, source:
            for instance in arena.instances[:BEGIN]:
                arena.start(instance)
            first = time.monotonic()

            def working() -> bool:
                arena.check_all()
                return all(watch.seen())

            client.wait_for(working, 60, "the first results of each partition")
            tell(f"results after {time.monotonic() - first:.1f} s; the faults begin")
            begin = time.monotonic()
            carry_out(arena, order, begin, tell, lambda now: show(glance(arena, now, transfers.made, watch.records)))
            arena.calm()
            tell("all is whole again")
            calm_until(arena, time.monotonic() + CALM_SECONDS)
            source.stop()
            stopped = time.monotonic()
            result.silences = watch.silences(begin, stopped)
            result.kafka_silences = source.silences(PARTITIONS, begin, stopped)
            catch_up(arena)
            result.caught_up = time.monotonic() - stopped
            arena.stop()
        evidence = gather(arena, changelogs=not order.snapshots)
        result.violations = [*judge(evidence), *unfinished(arena)]
        if len(evidence.transfers) != transfers.made:
            result.violations.append(f"{transfers.made} transfers were made and {len(evidence.transfers)} are there")
        if result.violations:
            keep(evidence, directory)
    except (Violation, TimeoutError, AssertionError) as violation:
        result.violations.append(str(violation) or repr(violation))
        arena.ask_what_they_do()
    finally:
        result.faults, result.left_out, result.openings = arena.done, arena.left_out, arena.openings()
        result.recoveries, (result.starts, result.never) = arena.recoveries, arena.starts()
        result.records, result.outputs = transfers.made, watch.records
        arena.close()
    return result


def glance(arena: Arena, elapsed: float, made: int, seen: int) -> Glance:
    alive = sum(instance.alive for instance in arena.instances)
    return Glance(elapsed, made, seen, alive, arena.done.total())


def carry_out(arena: Arena, order: Order, begin: float, tell: Tell, show: Callable[[float], None]) -> None:
    """Carry out all acts of the schedule, each at its time."""
    for act in order.schedule():
        while (left := begin + act.at - time.monotonic()) > 0:
            arena.check_all()
            show(time.monotonic() - begin)
            time.sleep(min(left, TICK_SECONDS))
        arena.do(act)
        late = time.monotonic() - begin - act.at
        tell(f"{act}{f', {late:.1f} s late' if late > 1 else ''}")
    while time.monotonic() < begin + order.duration:
        arena.check_all()
        show(time.monotonic() - begin)
        time.sleep(TICK_SECONDS)


def calm_until(arena: Arena, end: float) -> None:
    while time.monotonic() < end:
        arena.check_all()
        time.sleep(TICK_SECONDS)


def catch_up(arena: Arena) -> None:
    """Wait until everything is committed, including the entries in the repartition topic."""
    between = repartition(arena)

    def left() -> int:
        arena.check_all()
        lag = client.lag(arena.broker, arena.app_id, arena.name("transfers"))
        if lag:
            return lag
        # By records, not by offsets: the last offset of a partition is a transaction marker, which is never processed.
        begin = read.by_partition(client.committed(arena.broker, arena.app_id), between)
        return len(client.read(arena.broker, between, start=begin))

    try:
        client.wait_for(lambda: left() == 0, CATCH_UP_SECONDS, "everything to be processed after the last fault")
    except TimeoutError as error:
        raise Violation(f"{error}; {left()} records are left") from None


def repartition(arena: Arena) -> str:
    [topic] = [n for n in client.topics(arena.broker) if n.startswith(arena.app_id) and n.endswith("-repartition")]
    return topic


def gather(arena: Arena, *, changelogs: bool) -> Evidence:
    """Read all topics, after all processes have stopped."""

    def rows(topic: str, **more: Any) -> list[check.Row]:
        return read.rows(arena.broker, topic, bytes.decode, orjson.loads, **more)

    def pairs(topic: str, first: str, second: str) -> list[check.Row]:
        return [row._replace(value=(row.value[first], row.value[second])) for row in rows(arena.name(topic))]

    committed = client.committed(arena.broker, arena.app_id)
    transfers = check.up_to(rows(arena.name("transfers")), read.by_partition(committed, arena.name("transfers")))
    between = repartition(arena)
    waiting = rows(between, start=read.by_partition(committed, between))
    return Evidence(
        transfers=transfers,
        receipts=pairs("receipts", "number", "before"),
        statements=pairs("statements", "id", "balance"),
        faults=read.rows(arena.broker, arena.name("faults"), bytes.decode, bytes.decode),
        waiting=[row._replace(value=row.value["id"]) for row in waiting],
        changelogs={store: changelog(arena, store) for store in ("receipts-last", "accounts-balance") if changelogs},
    )


def changelog(arena: Arena, store: str) -> dict[str, Any]:
    """Return the contents of the changelog of a processor state.

    The layout is implemented here a second time on purpose: a key starts with the byte 1; a value with the version of
    the format, then the byte 0 if it does not expire, then msgpack.
    """
    partitions = client.changelog(arena.broker, f"{arena.app_id}-{store}-changelog")
    entries = [entry for content in partitions.values() for entry in content.items()]
    return {raw[1:].decode(): ormsgpack.unpackb(value[2:]) for raw, value in entries if raw[:1] == b"\x01"}


def unfinished(arena: Arena) -> list[str]:
    """Return the transactions that are still open."""
    mine = [name for name in client.topics(arena.broker) if name.startswith(arena.app_id)]
    listed = [one for one in open_transactions(arena.broker) if one.transactional_id.startswith(arena.app_id)]
    return [
        *check.no_open_transaction(read.open_spans(arena.broker, mine)),
        *(f"the coordinator lists an open transaction: {transaction}" for transaction in listed),
    ]


def keep(evidence: Evidence, directory: Path) -> None:
    """Write all records to files, for debugging."""
    for name in ("transfers", "receipts", "statements", "faults", "waiting"):
        with (directory / f"{name}.jsonl").open("wb") as file:
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in getattr(evidence, name))


def last_words(directory: Path, lines: int = 15) -> str:
    """Return the last lines of the newest logs of the instances."""
    newest = [max(home.glob("*.log"), default=None) for home in sorted(directory.glob("instance-*"))]
    return "\n\n".join(f"{log}:\n{tail(log, lines)}" for log in newest if log is not None)
