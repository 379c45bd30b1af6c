"""The topic watcher: new partitions, new topics, topic ids and leaders at run time.

Runs in a background thread, since brokers may take long to respond. The loop gets what has changed as a value.
`plan/partition_growth.py` and `changes.py` decide what it means, and the processing loop what to do about it. The
existence and ids of topics are checked every few seconds, and at once when a client reports an error.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..clock import Clock
from ..config.settings import Settings
from ..errors import Retryable
from ..ids import TaskId
from ..kafka.topics import Topics
from ..plan.partition_growth import matches_of, replanned
from ..plan.plan import Partitioned, Plan
from ..threads import Thread
from .changes import gone_for_good, kinds_of, refuse_others
from .startup import make_internal_topics

__all__ = ["Debouncer", "Racks", "TopicWatcher", "TopicsSnapshot"]

LOG = logging.getLogger("tidemill.watch")
Racks = Mapping[str, tuple[str, ...]]
"""The rack of each partition's leader by topic, "" if unknown."""
JOIN_SECONDS = 3.0
IDS_SECONDS = 5.0
"""The longest time between two checks of topic ids."""
AGAIN_SECONDS = 1.0
"""The delay before the second check for a missing topic: if it is still missing, it counts as deleted."""


@dataclass(frozen=True)
class TopicsSnapshot:
    """The state of the topics at one moment."""

    plan: Plan
    racks: Racks = field(default_factory=dict[str, "tuple[str, ...]"])
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """The ids of the topics."""
    gone: frozenset[str] = frozenset()
    """Topics of patterns that no longer exist."""

    def inputs(self, task: TaskId) -> tuple[tuple[str, int], ...]:
        """Return the partitions that a task reads, of topics that exist."""
        return tuple(key for key in self.plan.inputs(task) if key[0] not in self.gone)

    def differs_from(self, before: TopicsSnapshot) -> bool:
        """Return whether this snapshot differs from an earlier one; newly known ids do not count."""
        others = any(before.ids.get(topic, topic_id) != topic_id for topic, topic_id in self.ids.items())
        return others or (self.plan, self.racks, self.gone) != (before.plan, before.racks, before.gone)


class Debouncer:
    """Accepts a change of leaders only if it lasts: brokers restart, and leaders come back."""

    def __init__(self, wait: int) -> None:
        """Take the time for which a change must last, in ms."""
        self._wait = wait
        self._newest: Racks = {}
        self._since = 0
        self.believed: Racks | None = None

    def observe(self, racks: Racks, now: int) -> Racks:
        """Return the leaders to use now. The first ones are accepted at once."""
        if racks != self._newest:
            self._newest, self._since = racks, now
        if self.believed is None or now - self._since >= self._wait:
            self.believed = self._newest
        return self.believed


class TopicWatcher:
    """Watches the topics of a program in a thread, and reports to the loop's thread."""

    def __init__(self, partitioned: Partitioned, plan: Plan, topics: Topics, settings: Settings, clock: Clock) -> None:
        self._partitioned = partitioned
        self._topics = topics
        self._settings = settings
        self._clock = clock
        self._seen = TopicsSnapshot(plan)
        self._leaders = Debouncer(settings.balance_interval)
        self._lock = threading.Lock()
        self._change: TopicsSnapshot | BaseException | None = None
        self._missing: frozenset[str] = frozenset()
        """Topics that the last check did not find."""
        self.fatal = threading.Event()
        """Set when `take_change` is going to raise: operations that wait for Kafka should stop waiting."""
        self._closing = False
        self._wake = threading.Event()
        self._thread = Thread("tidemill-watch", lambda: self.run(self._wake.wait))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, without waiting for a request to Kafka."""
        self._closing = True
        self._wake.set()
        self._thread.join(JOIN_SECONDS)

    def take_change(self) -> TopicsSnapshot | None:
        """Return the current state if it has changed since the last call.

        Raises the error that prevents the program from continuing.
        """
        self._thread.check()
        with self._lock:
            change, self._change = self._change, None
        if isinstance(change, BaseException):
            raise change
        return change

    @property
    def idle(self) -> bool:
        """True while neither a check nor the end of the thread is requested."""
        return not self._wake.is_set()

    def replaced(self, topic: str) -> bool:
        """Return whether a topic that a pattern matched was deleted or re-created.

        Raises Fatal if it is a topic that the program names, and Retryable.
        """
        seen = self._seen
        now = self._topics.ids([topic])
        if topic not in now:
            return bool(gone_for_good(seen.plan, [topic], seen.ids))
        return bool(refuse_others(seen.plan, seen.ids, now))

    def check_soon(self) -> None:
        """Request a check now, because a client has an error."""
        self._wake.set()

    def run(self, wait: Callable[[float], object]) -> None:
        """Run the checks until the watcher is closed. `wait` is called with a number of seconds."""
        interval = self._settings.metadata_interval
        due = self._clock.monotonic()
        pause = 0.0
        while not self._closing:
            wait(pause)
            self._wake.clear()
            if self._closing:
                return
            whole = self._clock.monotonic() >= due
            try:
                seen = self.look(whole=whole)
            except Retryable as failure:
                LOG.info("%s; checking the topics again later", failure)
                pause = min(interval / 1000, IDS_SECONDS)
                continue
            except BaseException as failure:  # the loop raises it
                self._publish(failure)
                return
            if whole:
                due = self._clock.monotonic() + interval
            pause = AGAIN_SECONDS if self._missing - seen.gone else min(interval / 1000, IDS_SECONDS)
            if seen.racks != self._seen.racks:
                LOG.info("racks of the partition leaders: %s", leaders_by_rack(seen.racks))
            before, self._seen = self._seen, seen
            if seen.differs_from(before):
                self._publish(seen)

    def look(self, *, whole: bool = True) -> TopicsSnapshot:
        """Check the topics once; a `whole` check also searches for new topics of patterns.

        Raises TopologyError or Fatal if the program cannot continue with the topics as they are.
        """
        plan = self._seen.plan
        patterns = whole and any(source.pattern is not None for source in self._partitioned.topology.sources)
        matches = matches_of(self._partitioned, plan.app_id, self._topics.partitions() if patterns else plan.topics)
        read = {*plan.topics, *(topic for found in matches.values() for topic in found)}
        found = self._topics.describe({*read, *kinds_of(plan)})
        racks = {name: topic.racks for name, topic in found.items() if name in read}
        ids, gone = self._judged(plan, {name: topic.id for name, topic in found.items()})
        counts = {topic: len(leaders) for topic, leaders in racks.items()}
        there = {pattern: tuple(topic for topic in found if topic in counts) for pattern, found in matches.items()}
        grown = replanned(self._partitioned, plan, counts, there)
        if grown is not plan:
            LOG.info("new partitions: %s", ", ".join(differences(plan, grown)))
            make_internal_topics(self._topics, grown, self._settings)
        if not self._settings.near_leaders:
            return TopicsSnapshot(grown, ids=ids, gone=gone)
        return TopicsSnapshot(grown, self._leaders.observe(racks, self._clock.monotonic()), ids, gone)

    def _judged(self, plan: Plan, now: Mapping[str, str]) -> tuple[Mapping[str, str], frozenset[str]]:
        """Return the ids known so far, and the topics of patterns that were deleted."""
        before = self._seen
        missing = frozenset(kinds_of(plan).keys() - now.keys())
        gone = gone_for_good(plan, missing & (self._missing | before.gone), before.ids)
        self._missing = missing
        for topic in sorted(gone - before.gone):
            LOG.warning("topic %r, which a pattern matched, does not exist any more: it is not read", topic)
        for topic in sorted(refuse_others(plan, before.ids, now)):
            LOG.warning(
                "topic %r, which a pattern matches, was deleted and created again (its id was %s and is %s now): it is "
                "read from its beginning",
                topic,
                before.ids[topic],
                now[topic],
            )
        return {**before.ids, **now}, gone

    def _publish(self, change: TopicsSnapshot | BaseException) -> None:
        with self._lock:
            self._change = change
        if isinstance(change, BaseException):
            self.fatal.set()


def differences(before: Plan, after: Plan) -> list[str]:
    """Describe topics with a changed number of partitions, with both numbers."""
    old, new = (
        {topic: count for subtopology in plan.subtopologies for topic, count in subtopology.topic_partitions.items()}
        for plan in (before, after)
    )
    grown = [topic for topic in sorted(new) if old.get(topic, 0) != new[topic]]
    return [f"{topic!r} {old.get(topic, 0)} -> {new[topic]}" for topic in grown]


def leaders_by_rack(racks: Racks) -> str:
    """Describe how many leaders each rack has."""
    found = Counter(rack or "unknown" for leaders in racks.values() for rack in leaders)
    return ", ".join(f"{rack} {count}" for rack, count in sorted(found.items()))
