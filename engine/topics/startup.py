"""From a program and settings to a plan, with Kafka asked about the topics.

Waits for a broker and for input and output topics that do not exist yet, up to the limits in the settings, saying what
it waits for; creates the internal topics and checks those that are there. What can be known of the topics at the start
is said at the start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from ...operators.graph.topology import Topology
from ...operators.time.durations import format_duration
from ..clock import Clock
from ..config.settings import Settings
from ..errors import Fatal, Retryable, TopologyError
from ..kafka.topics import Topics
from ..plan.partition_growth import built_before, matches_of, refuse_misfits
from ..plan.plan import Partitioned, Plan, partition, plan
from ..plan.topic_settings import too_small
from .changes import outputs_of

__all__ = ["Stopped", "make_internal_topics", "prepare"]

LOG = logging.getLogger("tidemill")
PAUSE_MS = 500
REMIND_MS = 5_000
ATTEMPT_SECONDS = 3.0
"""Longest wait for one answer: until it ends, nobody hears of a stop."""
UNCOMPACTED_MS = 24 * 60 * 60 * 1000
"""Without transactions a changelog may run ahead of the committed offsets; a restore then goes by what was before."""
LARGEST_MESSAGE = 1_000_000
"""The client's default of `message.max.bytes`."""
T = TypeVar("T")


class Stopped(Exception):
    """A stop was asked for while waiting."""


def prepare(
    app_id: str, topology: Topology, settings: Settings, topics: Topics, clock: Clock, stopping: Callable[[], bool]
) -> tuple[Partitioned, Plan]:
    """The plan of a program in view of its topics, with its internal topics made, and what it was made from.

    Raises Fatal when no broker answers within `connect_timeout`, TopologyError when a topic does not appear within
    `topic_timeout` or a topic does not fit the program, and Stopped.
    """
    waiting = _Waiting(clock, stopping)
    attempt = min(ATTEMPT_SECONDS, settings.connect_timeout / 1000)
    partitioned = partition(topology)
    counts = waiting.until(
        lambda: topics.partitions(attempt),
        settings.connect_timeout,
        lambda failure: Fatal(
            f"cannot reach Kafka at {settings.broker} for {format_duration(settings.connect_timeout)}: {failure}. "
            "Check the address (--broker), that the broker runs, and the security options"
        ),
        f"waiting for Kafka at {settings.broker}",
    )
    wanted = dict.fromkeys(outputs_of(topology), "output")
    wanted |= {topic: "input" for source in topology.sources for topic in source.topics}

    def found() -> dict[str, int]:
        there = topics.partitions(attempt)
        missing = wanted.keys() - there.keys()
        if missing:
            see(topics, missing)
            raise Retryable(", ".join(sorted(missing)))
        return there

    if not wanted.keys() <= counts.keys():
        missing = wanted.keys() - counts.keys()
        counts = waiting.until(
            found,
            settings.topic_timeout,
            lambda failure: TopologyError(absent(wanted, str(failure).split(", "), settings.topic_timeout)),
            f"waiting for {' and '.join(named(wanted, missing))} to be created",
        )
    planned = _plan(partitioned, app_id, counts)
    waiting.until(
        lambda: make_internal_topics(topics, planned, settings),
        settings.connect_timeout,
        lambda failure: Fatal(f"the internal topics cannot be made: {failure}"),
        "making the internal topics",
    )
    for text in remarks(partitioned, planned, topics, settings):
        LOG.warning("%s", text)
    return partitioned, planned


def see(topics: Topics, missing: Collection[str]) -> None:
    """Raises Fatal for topics that may not be seen: a list of all topics leaves them out, by name they are refused."""
    try:
        topics.describe(missing)
    except Fatal as failure:
        raise Fatal(
            f"{failure}. The user needs the rights to describe and read input topics, and to describe and write output "
            "topics"
        ) from failure


def named(kinds: Mapping[str, str], topics: Collection[str], quote: str = "") -> list[str]:
    """Topics, for people, those of each kind together."""
    by_kind = {kind: ", ".join(sorted(it for it in topics if kinds[it] == kind)) for kind in ("input", "output")}
    return [f"the {kind} topic {quote}{names}{quote}" for kind, names in by_kind.items() if names]


def absent(kinds: Mapping[str, str], topics: Collection[str], waited: int) -> str:
    """What to say of topics that were waited for."""
    first, *rest = named(kinds, topics, quote="'")
    return (
        f"{first} does not exist, after waiting {format_duration(waited)}{f', nor does {rest[0]}' if rest else ''}. "
        "Tidemill creates neither input nor output topics: their number of partitions is yours to choose. Create it, "
        "or correct the name"
    )


def remarks(partitioned: Partitioned, planned: Plan, topics: Topics, settings: Settings) -> Iterator[str]:
    """What to say of the topics at the start though the program can run with them."""
    outputs = outputs_of(planned.topology)
    for pattern, matched in matches_of(partitioned, planned.app_id, planned.topics).items():
        if not matched:
            yield f"no topic matches the pattern {pattern!r} yet: nothing is read until one appears"
        for topic in sorted(outputs & set(matched)):
            yield (
                f"the pattern {pattern!r} matches the output topic {topic!r} of this program: it reads what it writes. "
                "Narrow the pattern, or write elsewhere"
            )
    largest = int(settings.librdkafka.get("message.max.bytes", LARGEST_MESSAGE))
    try:
        found = topics.settings(outputs)
    except (Retryable, Fatal) as failure:
        LOG.info("%s; the size of records that they take is not checked", failure)
        return
    for topic, values in sorted(found.items()):
        text = too_small(topic, values, largest)
        if text is not None:
            yield text


def make_internal_topics(topics: Topics, planned: Plan, settings: Settings) -> None:
    """Makes the internal topics that are missing and checks the others. Raises Retryable, TopologyError or Fatal."""
    kept = UNCOMPACTED_MS if settings.guarantee == "at_least_once" else 0
    topics.ensure([replace(topic, uncompacted=kept) for topic in planned.internal], settings.replication_factor)


def _plan(partitioned: Partitioned, app_id: str, counts: dict[str, int]) -> Plan:
    matches = matches_of(partitioned, app_id, counts)
    refuse_misfits(built_before(partitioned, app_id, counts, matches), counts)
    return plan(partitioned, app_id, counts, matches)


class _Waiting:
    """Tries again until a deadline, and says now and then what it waits for."""

    def __init__(self, clock: Clock, stopping: Callable[[], bool]) -> None:
        self._clock = clock
        self._stopping = stopping

    def until(self, attempt: Callable[[], T], limit: int, give_up: Callable[[Retryable], Exception], doing: str) -> T:
        began = self._clock.monotonic()
        reminded: int | None = None
        while True:
            try:
                return attempt()
            except Retryable as failure:
                if self._stopping():
                    raise Stopped from failure
                now = self._clock.monotonic()
                if now - began >= limit:
                    raise give_up(failure) from failure
                if reminded is None or now - reminded >= REMIND_MS:
                    reminded = now
                    LOG.warning("%s (up to %s more)", doing, format_duration((limit - (now - began)) // 1000 * 1000))
            self._clock.sleep(PAUSE_MS)
