"""One round: the schedule is carried out while transfers go in, then there is calm, and then the judgement."""

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
    """What a round is to be."""

    seed: int
    duration: float
    rate: int
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Settings of the instances, beside those of the arena."""

    def schedule(self) -> list[Act]:
        return make(self.seed, self.duration)


@dataclass
class Result:
    """What a round came to."""

    order: Order
    faults: Counter[str] = field(default_factory=Counter[str])
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Faults of brokers for which it was too early."""
    recoveries: list[float] = field(default_factory=list[float])
    """Seconds that brokers needed after each fault of theirs."""
    starts: list[float] = field(default_factory=list[float])
    """Seconds that instances needed to take part."""
    never: int = 0
    """Lives of instances that ended before."""
    records: int = 0
    """Transfers written."""
    outputs: int = 0
    """Results that a reader of committed records saw."""
    openings: int = 0
    silences: list[float] = field(default_factory=list[float])
    """The longest time that each partition of the receipts brought nothing, in seconds."""
    kafka_silences: list[float] = field(default_factory=list[float])
    """The longest time that Kafka itself took nothing for each partition of the transfers, in seconds."""
    caught_up: float = 0.0
    """Seconds from the end of the input until all of it was committed."""
    violations: list[str] = field(default_factory=list[str])


Tell = Callable[[str], None]
"""Takes a line for whoever watches."""


@dataclass(frozen=True)
class Glance:
    """How things are at a moment, for whoever watches."""

    elapsed: float
    made: int
    seen: int
    alive: int
    faults: int


def play(
    kafka: Kafka, app_id: str, directory: Path, order: Order, tell: Tell, show: Callable[[Glance], None]
) -> Result:
    """Plays a round and judges it. What goes wrong is in the result; its logs are in the directory."""
    result = Result(order)
    arena = Arena(kafka, app_id, directory, order.settings, tell)
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
        evidence = gather(arena)
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
    """Does everything that the schedule says, each thing at its time."""
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
    """Waits until everything is committed, entries in the repartition topic included."""
    between = repartition(arena)

    def left() -> int:
        arena.check_all()
        lag = client.lag(arena.broker, arena.app_id, arena.name("transfers"))
        if lag:
            return lag
        # By records, not by offsets: the last one of each partition is a transaction's marker, which nobody processes.
        begin = read.by_partition(client.committed(arena.broker, arena.app_id), between)
        return len(client.read(arena.broker, between, start=begin))

    try:
        client.wait_for(lambda: left() == 0, CATCH_UP_SECONDS, "everything to be processed after the last fault")
    except TimeoutError as error:
        raise Violation(f"{error}; {left()} records are left") from None


def repartition(arena: Arena) -> str:
    [topic] = [n for n in client.topics(arena.broker) if n.startswith(arena.app_id) and n.endswith("-repartition")]
    return topic


def gather(arena: Arena) -> Evidence:
    """All that is in the topics, now that everything has stopped."""

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
        changelogs={store: changelog(arena, store) for store in ("receipts-last", "accounts-balance")},
    )


def changelog(arena: Arena, store: str) -> dict[str, Any]:
    """What the changelog of a processor's state adds up to.

    The layout is written down here a second time on purpose: a key begins with the byte 1; a value with the version of
    the format, the byte 0 for one that does not expire, and then msgpack.
    """
    partitions = client.changelog(arena.broker, f"{arena.app_id}-{store}-changelog")
    entries = [entry for content in partitions.values() for entry in content.items()]
    return {raw[1:].decode(): ormsgpack.unpackb(value[2:]) for raw, value in entries if raw[:1] == b"\x01"}


def unfinished(arena: Arena) -> list[str]:
    """Transactions that nobody has ended."""
    mine = [name for name in client.topics(arena.broker) if name.startswith(arena.app_id)]
    listed = [one for one in open_transactions(arena.broker) if one.transactional_id.startswith(arena.app_id)]
    return [
        *check.no_open_transaction(read.open_spans(arena.broker, mine)),
        *(f"the coordinator lists an open transaction: {transaction}" for transaction in listed),
    ]


def keep(evidence: Evidence, directory: Path) -> None:
    """Writes all records to files, for who looks for the reason."""
    for name in ("transfers", "receipts", "statements", "faults", "waiting"):
        with (directory / f"{name}.jsonl").open("wb") as file:
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in getattr(evidence, name))


def last_words(directory: Path, lines: int = 15) -> str:
    """The ends of the instances' newest logs."""
    newest = [max(home.glob("*.log"), default=None) for home in sorted(directory.glob("instance-*"))]
    return "\n\n".join(f"{log}:\n{tail(log, lines)}" for log in newest if log is not None)
