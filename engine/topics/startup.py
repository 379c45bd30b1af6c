"""The start of a program: check its topics in Kafka, and make the plan.

Waits for a broker, and for input and output topics that do not exist yet, up to the limits in the settings, and logs
what it waits for. Creates missing internal topics and checks existing ones. Everything that is known to be wrong with
the topics at the start is reported at the start.
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
from ..plan.kept_names import refuse_former_names, unclaimed, with_kept_names
from ..plan.partition_growth import built_before, matches_of, refuse_misfits
from ..plan.plan import Partitioned, Plan, partition, plan
from ..plan.topic_settings import too_small
from ..reminder import Reminder
from ..tasks.snapshot_marks import refuse_memory_stores
from .changes import outputs_of

__all__ = ["StopRequested", "make_internal_topics", "prepare"]

LOG = logging.getLogger("tidemill")
PAUSE_MS = 500
REMIND_MS = 5_000
ATTEMPT_SECONDS = 3.0
"""The longest wait for one response: a stop is not noticed before."""
UNCOMPACTED_MS = 24 * 60 * 60 * 1000
"""Without transactions, a changelog may be ahead of the committed offsets; a restore then uses older records."""
LARGEST_MESSAGE = 1_000_000
"""The client's default for `message.max.bytes`."""
T = TypeVar("T")


class StopRequested(Exception):
    """A stop was requested during the wait for Kafka or topics."""


def prepare(
    app_id: str, topology: Topology, settings: Settings, topics: Topics, clock: Clock, stopping: Callable[[], bool]
) -> tuple[Partitioned, Plan]:
    """Make the plan of a program for its topics, and create missing internal topics.

    Returns also the partitioned topology of the plan. Raises Fatal if no broker responds within `connect_timeout`,
    TopologyError if a topic does not appear within `topic_timeout` or does not fit the program, or for stores in memory
    without changelogs, and StopRequested.
    """
    if not settings.changelogs:
        refuse_memory_stores(topology)
        refuse_former_names(topology)
    waiting = _RetryUntil(clock, stopping)
    attempt = min(ATTEMPT_SECONDS, settings.connect_timeout / 1000)
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
            check_visible(topics, missing)
            raise Retryable(", ".join(sorted(missing)))
        return there

    if not wanted.keys() <= counts.keys():
        missing = wanted.keys() - counts.keys()
        counts = waiting.until(
            found,
            settings.topic_timeout,
            lambda failure: TopologyError(absent(wanted, str(failure).split(", "), settings.topic_timeout)),
            f"waiting for {' and '.join(topics_by_kind(wanted, missing))} to be created",
        )
    partitioned = with_kept_names(partition(topology), app_id, counts)
    planned = _plan(partitioned, app_id, counts, changelogs=settings.changelogs)
    for text in lost_names(planned, counts):
        LOG.warning("%s", text)
    waiting.until(
        lambda: make_internal_topics(topics, planned, settings),
        settings.connect_timeout,
        lambda failure: Fatal(f"the internal topics cannot be created: {failure}"),
        "creating the internal topics",
    )
    for text in remarks(partitioned, planned, topics, settings):
        LOG.warning("%s", text)
    return partitioned, planned


def check_visible(topics: Topics, missing: Collection[str]) -> None:
    """Raise Fatal for topics that the user is not authorized to see.

    A listing of all topics leaves them out; only a request by name is refused.
    """
    try:
        topics.describe(missing)
    except Fatal as failure:
        raise Fatal(
            f"{failure}. The user needs the rights to describe and read input topics, and to describe and write output "
            "topics"
        ) from failure


def topics_by_kind(kinds: Mapping[str, str], topics: Collection[str], quote: str = "") -> list[str]:
    """Describe topics, grouped by kind, for messages."""
    by_kind = {kind: ", ".join(sorted(it for it in topics if kinds[it] == kind)) for kind in ("input", "output")}
    return [f"the {kind} topic {quote}{names}{quote}" for kind, names in by_kind.items() if names]


def absent(kinds: Mapping[str, str], topics: Collection[str], waited: int) -> str:
    """Make the message for topics that did not appear in time."""
    first, *rest = topics_by_kind(kinds, topics, quote="'")
    return (
        f"{first} does not exist, after waiting {format_duration(waited)}{f', nor does {rest[0]}' if rest else ''}. "
        "Tidemill creates neither input nor output topics: you choose their number of partitions. Create it, "
        "or correct the name"
    )


def remarks(partitioned: Partitioned, planned: Plan, topics: Topics, settings: Settings) -> Iterator[str]:
    """Yield warnings about the topics: the program can run with them."""
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
        LOG.info("%s; the record size that they accept is not checked", failure)
        return
    for topic, values in sorted(found.items()):
        text = too_small(topic, values, largest)
        if text is not None:
            yield text


def lost_names(planned: Plan, existing: Collection[str]) -> Iterator[str]:
    """Yield a warning if a store begins empty while there is a changelog of no store."""
    taken = {
        state.spec.name: state.begins_with
        for node in planned.topology.nodes
        for state in node.stores
        if state.begins_with is not None and state.begins_with in existing
    }
    used = {topic.name for topic in planned.internal} | {*taken.values()}
    fresh = [
        topic.owner
        for topic in planned.internal
        if topic.kind == "changelog" and topic.name not in existing and topic.owner not in taken
    ]
    left = unclaimed(planned.app_id, used, existing)
    if fresh and left:
        yield (
            f"the store{'s' if len(fresh) > 1 else ''} {', '.join(map(repr, sorted(fresh)))} will begin empty, and no "
            f"store of the program has the changelog{'s' if len(left) > 1 else ''} {', '.join(left)}. If a step was "
            "renamed, stop, and give its former name: .named('new', was='old')"
        )


def make_internal_topics(topics: Topics, planned: Plan, settings: Settings) -> None:
    """Create missing internal topics and check the others.

    Raises Retryable, TopologyError or Fatal.
    """
    kept = UNCOMPACTED_MS if settings.guarantee == "at_least_once" else 0
    topics.ensure([replace(topic, uncompacted=kept) for topic in planned.internal], settings.replication_factor)


def _plan(partitioned: Partitioned, app_id: str, counts: dict[str, int], *, changelogs: bool) -> Plan:
    matches = matches_of(partitioned, app_id, counts)
    if changelogs:
        refuse_misfits(built_before(partitioned, app_id, counts, matches), counts)
    return plan(partitioned, app_id, counts, matches, changelogs=changelogs)


class _RetryUntil:
    """A retry loop with a deadline that logs from time to time what it waits for."""

    def __init__(self, clock: Clock, stopping: Callable[[], bool]) -> None:
        self._clock = clock
        self._stopping = stopping

    def until(self, attempt: Callable[[], T], limit: int, give_up: Callable[[Retryable], Exception], doing: str) -> T:
        began = self._clock.monotonic()
        reminder = Reminder(REMIND_MS)
        while True:
            try:
                return attempt()
            except Retryable as failure:
                if self._stopping():
                    raise StopRequested from failure
                now = self._clock.monotonic()
                if now - began >= limit:
                    raise give_up(failure) from failure
                if reminder.due(now):
                    LOG.warning("%s (up to %s more)", doing, format_duration((limit - (now - began)) // 1000 * 1000))
            self._clock.sleep(PAUSE_MS)
