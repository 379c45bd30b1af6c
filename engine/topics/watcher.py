"""Looks at the topics of a running program now and then: new partitions, new topics, ids, and where leaders are.

Runs in a thread of its own, since brokers may take long to answer. What has changed is handed out as a value by `news`;
what that means is decided in `plan/partition_growth.py` and `changes.py`, and what is done about it in
`runtime/loop.py`. Whether the topics are there and are the ones they were is looked at every few seconds, and at once
when a client has trouble with them.
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

__all__ = ["Racks", "Seen", "Steadily", "Watch"]

LOG = logging.getLogger("tidemill.watch")
Racks = Mapping[str, tuple[str, ...]]
"""The rack of each partition's leader by topic, "" for one that is not known."""
PATIENCE_SECONDS = 3.0
IDS_SECONDS = 5.0
"""The longest between two looks at the ids of topics."""
AGAIN_SECONDS = 1.0
"""After what time a topic that was not seen is looked for again, before it is taken to be gone."""


@dataclass(frozen=True)
class Seen:
    """How things are now."""

    plan: Plan
    racks: Racks = field(default_factory=dict[str, "tuple[str, ...]"])
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    """The ids of the topics."""
    gone: frozenset[str] = frozenset()
    """Topics of patterns that do not exist any more."""

    def inputs(self, task: TaskId) -> tuple[tuple[str, int], ...]:
        """The partitions that a task reads, of topics that exist."""
        return tuple(key for key in self.plan.inputs(task) if key[0] not in self.gone)

    def tells(self, before: Seen) -> bool:
        """Whether it is another picture than before; ids that were not known say nothing new."""
        others = any(before.ids.get(topic, topic_id) != topic_id for topic, topic_id in self.ids.items())
        return others or (self.plan, self.racks, self.gone) != (before.plan, before.racks, before.gone)


class Steadily:
    """Believes what it sees when it has seen nothing else for a while: brokers restart, and leaders come back."""

    def __init__(self, wait: int) -> None:
        """`wait` in ms."""
        self._wait = wait
        self._newest: Racks = {}
        self._since = 0
        self.believed: Racks | None = None

    def saw(self, racks: Racks, now: int) -> Racks:
        """What to go by at this moment. The first that is seen is believed at once."""
        if racks != self._newest:
            self._newest, self._since = racks, now
        if self.believed is None or now - self._since >= self._wait:
            self.believed = self._newest
        return self.believed


class Watch:
    """Looks at topics. `news` is for the loop's thread."""

    def __init__(self, partitioned: Partitioned, plan: Plan, topics: Topics, settings: Settings, clock: Clock) -> None:
        self._partitioned = partitioned
        self._topics = topics
        self._settings = settings
        self._clock = clock
        self._seen = Seen(plan)
        self._leaders = Steadily(settings.balance_interval)
        self._lock = threading.Lock()
        self._news: Seen | BaseException | None = None
        self._missing: frozenset[str] = frozenset()
        """Topics that the last look did not see."""
        self.hopeless = threading.Event()
        """Set when `news` will raise: what waits for Kafka need not go on waiting."""
        self._closing = False
        self._wake = threading.Event()
        self._thread = Thread("tidemill-watch", lambda: self.run(self._wake.wait))

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops the thread; one that waits for Kafka is not waited for."""
        self._closing = True
        self._wake.set()
        self._thread.join(PATIENCE_SECONDS)

    def news(self) -> Seen | None:
        """How things are now, when that has changed since the last call. Raises what makes it impossible to go on."""
        self._thread.check()
        with self._lock:
            news, self._news = self._news, None
        if isinstance(news, BaseException):
            raise news
        return news

    @property
    def idle(self) -> bool:
        """True while nobody has asked for a look, or for the end."""
        return not self._wake.is_set()

    def replaced(self, topic: str) -> bool:
        """Whether a topic that a pattern matched is gone or another one by now. Raises Fatal for one that the program
        names, and Retryable."""
        seen = self._seen
        now = self._topics.ids([topic])
        if topic not in now:
            return bool(gone_for_good(seen.plan, [topic], seen.ids))
        return bool(refuse_others(seen.plan, seen.ids, now))

    def hurry(self) -> None:
        """Has the topics looked at now: a client has trouble with them."""
        self._wake.set()

    def run(self, wait: Callable[[float], object]) -> None:
        """What the thread does until it is closed. `wait` is called with seconds when there is nothing to do."""
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
                LOG.info("%s; looking at the topics again later", failure)
                pause = min(interval / 1000, IDS_SECONDS)
                continue
            except BaseException as failure:  # the loop raises it
                self._tell(failure)
                return
            if whole:
                due = self._clock.monotonic() + interval
            pause = AGAIN_SECONDS if self._missing - seen.gone else min(interval / 1000, IDS_SECONDS)
            if seen.racks != self._seen.racks:
                LOG.info("the leaders of partitions are in these racks now: %s", counted(seen.racks))
            before, self._seen = self._seen, seen
            if seen.tells(before):
                self._tell(seen)

    def look(self, *, whole: bool = True) -> Seen:
        """One look, for new topics of patterns too if it is a `whole` one.

        Raises TopologyError or Fatal when the program cannot go on with what there is.
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
            LOG.info("there are new partitions: %s", ", ".join(differences(plan, grown)))
            make_internal_topics(self._topics, grown, self._settings)
        if not self._settings.near_leaders:
            return Seen(grown, ids=ids, gone=gone)
        return Seen(grown, self._leaders.saw(racks, self._clock.monotonic()), ids, gone)

    def _judged(self, plan: Plan, now: Mapping[str, str]) -> tuple[Mapping[str, str], frozenset[str]]:
        """The ids that are known by now, and the topics of patterns that are gone."""
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

    def _tell(self, news: Seen | BaseException) -> None:
        with self._lock:
            self._news = news
        if isinstance(news, BaseException):
            self.hopeless.set()


def differences(before: Plan, after: Plan) -> list[str]:
    """Topics whose number of partitions has changed, with both numbers, for people."""
    old, new = (
        {topic: count for part in plan.parts for topic, count in part.topic_partitions.items()}
        for plan in (before, after)
    )
    grown = [topic for topic in sorted(new) if old.get(topic, 0) != new[topic]]
    return [f"{topic!r} {old.get(topic, 0)} -> {new[topic]}" for topic in grown]


def counted(racks: Racks) -> str:
    """How many leaders each rack has, for people."""
    found = Counter(rack or "unknown" for leaders in racks.values() for rack in leaders)
    return ", ".join(f"{rack} {count}" for rack, count in sorted(found.items()))
