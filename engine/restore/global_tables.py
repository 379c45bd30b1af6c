"""Reads all partitions of the topics of global tables, in a thread with its own client.

At the start the tables are read up to the ends of their topics; until then nothing is processed. A store from an
earlier run continues at its position. If it can no longer represent its topic, or if the topic was deleted and
recreated, at the start or during the run, it is emptied and read from the beginning. New partitions are picked up
during the run.

    begin ──▶ catching up ──▶ ready ──▶ following ─┐
                   ▲                               │ the topic was recreated, or an offset is gone
                   └───────────────────────────────┘
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from ...state.restore import UseLocal, outdated, plan_restore
from ...state.store import StateError
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import Fatal, Retryable, StateUnusable
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.consumer import Polled
from ..kafka.errors import OffsetGone
from ..kafka.topics import Topics
from ..serve.stats import Stats
from ..tasks.flow_control import flush_due
from ..threads import Thread
from .global_rows import GlobalRows, place
from .open_transactions import OpenTransactionWarnings

__all__ = ["GlobalTables", "wait_until_ready"]

LOG = logging.getLogger("tidemill.tables")
BATCH = 5_000
PAUSE_MS = 200
JOIN_SECONDS = 3.0
LOOKS_MISSED = 3
"""How many topic checks a table may miss, even if tombstones are kept for less time."""


class GlobalTables:
    """All global tables of a process. All methods except `run` are called from the main thread."""

    def __init__(
        self,
        tables: Sequence[GlobalRows],
        topics: Topics,
        reader: ChangelogReader,
        clock: Clock,
        look_interval: int,
        missing_timeout: int,
    ) -> None:
        """Create the tables, whose topics are checked every `look_interval` ms.

        A topic that does not exist is waited for up to `missing_timeout` ms.
        """
        self.rows: Mapping[str, GlobalRows] = {table.name: table for table in tables}
        self._tables = {table.topic: table for table in tables}
        self._topics = topics
        self._reader = reader
        self._clock = clock
        self._look_interval = look_interval
        self._missing_timeout = missing_timeout
        self._positions: dict[TopicPartition, int] = {}
        self._targets: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        """End offset and wall-clock time when it was queried, by partition, until read up to there."""
        self._complete: dict[TopicPartition, int] = {}
        """When each partition was last known to be read up to its end."""
        self._kept: Mapping[str, int] = {}
        """How long each topic keeps tombstones, in ms."""
        self._waits = OpenTransactionWarnings(clock)
        self._looked: int | None = None
        self._gone_since: int | None = None
        self._unflushed = dict.fromkeys(self._tables, 0)
        self._flushed = dict.fromkeys(self._tables, clock.monotonic())
        self._lags: Mapping[str, int] = {}
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._thread = Thread("tidemill-tables", self.run)
        if not tables:
            self._ready.set()

    def start(self) -> None:
        """Start the thread if there are tables."""
        if self.rows:
            self._thread.start()

    def ready(self, stats: Stats) -> bool:
        """Return whether all tables have been read up to the ends of their topics at the start.

        Raises the failure of the thread.
        """
        if self._failure is not None:
            raise self._failure
        for rows in self.rows.values():
            stats.skipped(rows.skips.take())
            stats.doubted(rows.doubts())
        stats.looked_up(self._lags, {where: n for rows in self.rows.values() for where, n in rows.drops().items()})
        return self._ready.is_set()

    def close(self) -> None:
        """Stop the thread and close the stores. Does not wait for a thread that is blocked on Kafka."""
        self._closing.set()
        self._thread.join(JOIN_SECONDS)
        if not self._thread.alive:
            for rows in self.rows.values():
                rows.store.close()

    def run(self) -> None:
        """Run the thread until it is closed."""
        try:
            while not self._closing.is_set():
                try:
                    self.step(0.1)
                except Retryable as failure:
                    LOG.warning("%s; trying again", failure)
                    self._clock.sleep(PAUSE_MS)
        except StateError as failure:
            self._failure = StateUnusable(str(failure))
        except BaseException as failure:  # the loop raises it
            self._failure = failure
        finally:
            self._reader.close()

    def step(self, timeout: float) -> None:
        """Apply fetched records, waiting up to `timeout` seconds; check the topics when due."""
        now = self._clock.monotonic()
        if self._looked is None or now - self._looked >= self._look_interval:
            self._look()
            self._looked = now
        try:
            polled = self._reader.poll(BATCH, timeout)
        except OffsetGone as failure:
            LOG.warning("%s", failure)
            for topic in self._tables:
                self._rebuild(topic, "unread records of its topic have been deleted")
            return
        except Retryable:
            self._read_again()  # records fetched from other partitions are lost with it
            raise
        except Fatal:
            self._looked, before = None, dict(self._positions)
            self._look()  # a deleted topic may have been recreated
            if self._positions == before:
                raise
            self._read_again()
            return
        if self._stood_still():
            return
        self._take(polled)
        self._lags = self._behind()
        if not self._ready.is_set() and all(self._positions[key] >= at for key, at in self._targets.items()):
            self._finished()

    def _look(self) -> None:
        """Pick up new partitions, and detect recreated topics."""
        found = self._topics.identities(list(self._tables))
        missing = sorted(self._tables.keys() - found.keys())
        if missing:
            self._wait_for(missing)
        self._gone_since = None
        for topic, (identity, partitions) in found.items():
            rows = self._tables[topic]
            if identity and rows.identity != identity:
                if rows.identity:
                    self._rebuild(topic, "its topic was deleted and created again")
                rows.identify(identity)
            fresh = [(topic, number) for number in range(partitions) if (topic, number) not in self._positions]
            if len(fresh) == partitions:
                self._begin_all(rows, fresh)
            elif fresh:
                LOG.info("global table %r: %d new partitions", rows.name, len(fresh))
                self._begin(self._topics.begins(fresh), self._topics.ends(fresh, committed=True), self._clock.now())
        self._measure()

    def _wait_for(self, missing: list[str]) -> None:
        now = self._clock.monotonic()
        if self._gone_since is None:
            self._gone_since = now
        names = ", ".join(map(repr, missing))
        if now - self._gone_since > self._missing_timeout:
            raise Fatal(
                f"the topic {names} of a global table no longer exists: create it again, with the rows of the table, "
                "or remove the table from the program"
            )
        raise Retryable(f"the topic {names} of a global table does not exist")

    def _begin_all(self, rows: GlobalRows, keys: list[TopicPartition]) -> None:
        """Start reading a table at the position of its store, or from the beginning."""
        now = self._clock.now()
        begins = self._topics.begins(keys)
        # What others have not committed yet need not be there when the program begins.
        ends = self._topics.ends(keys, committed=True)
        self._kept = {**self._kept, **self._topics.deletions_kept([rows.topic])}
        local = rows.store.position()
        decisions = {
            key: plan_restore(place(*key), local, begins[key], ends[key], {}, now, self._kept[rows.topic])
            for key in keys
            if place(*key) in local.changelogs
        }
        starts = {key: found.offset for key, found in decisions.items() if isinstance(found, UseLocal)}
        refused = [found.why for found in decisions.values() if not isinstance(found, UseLocal)]
        if refused or not decisions:
            if refused:
                LOG.warning("global table %r is read from the beginning: %s", rows.name, refused[0])
            starts = {}
            rows.empty()
        starts = {**begins, **starts}
        to_read = sum(max(0, ends[key] - starts[key]) for key in keys)
        LOG.info(
            "global table %r: %d records to read", rows.name, to_read, extra={"table": rows.name, "to_read": to_read}
        )
        self._ready.clear()
        self._begin(starts, ends, now)

    def _begin(self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], now: int) -> None:
        """Start reading partitions; one that starts empty is complete as of `now`."""
        for (topic, number), start in starts.items():
            key, rows = (topic, number), self._tables[topic]
            if place(*key) not in rows.store.position().changelogs:
                rows.moved(*key, start)
                rows.complete(*key, now)
            self._complete[key] = rows.store.position().complete.get(place(*key), now)
            self._ends[key] = ends[key], now
        self._reader.assign(starts)
        self._positions.update(starts)
        self._targets.update(ends)
        self._completed()

    def _measure(self) -> None:
        """Query the end offsets; partitions read up to them are complete as of now."""
        now = self._clock.now()
        stable = self._topics.ends(self._positions, committed=True)
        self._ends.update({key: (end, now) for key, end in stable.items() if key not in self._ends})
        self._waits.seen(self._positions, stable, self._topics.ends(self._positions, committed=False))
        self._completed()

    def _completed(self) -> None:
        """Store the times of partitions that have become complete."""
        for key, (end, asked) in list(self._ends.items()):
            if self._positions[key] >= end:
                del self._ends[key]
                self._complete[key] = asked
                self._tables[key[0]].complete(*key, asked)

    def _stood_still(self) -> bool:
        """Rebuild tables that were incomplete for longer than tombstones are kept; return if any."""
        now, found = self._clock.now(), False
        for topic in self._tables:
            kept = max(self._kept.get(topic, 0), LOOKS_MISSED * self._look_interval)
            times = [time for key, time in self._complete.items() if key[0] == topic]
            why = outdated(min(times), now, kept) if times and self._ready.is_set() else ""
            if why:
                self._rebuild(topic, why)
                found = True
        if found:
            self._read_again()
        return found

    def _read_again(self) -> None:
        """Restart all fetches from the positions of the tables."""
        self._reader.unassign(self._positions)
        self._reader.assign(self._positions)

    def _rebuild(self, topic: str, why: str) -> None:
        """Empty a table and read it from the beginning; nothing is processed until that is done."""
        rows = self._tables[topic]
        LOG.warning("global table %r is emptied and read from the beginning: %s", rows.name, why)
        self._ready.clear()
        keys = [key for key in self._positions if key[0] == topic]
        self._reader.unassign(keys)
        for key in keys:
            del self._positions[key], self._targets[key], self._complete[key]
            self._ends.pop(key, None)
        rows.empty()
        self._looked = None

    def _take(self, polled: Polled) -> None:
        for batch in polled.batches:
            key = (batch.topic, batch.partition)
            if key in self._positions:
                try:
                    self._tables[batch.topic].apply(batch)
                except Retryable:
                    self._read_again()  # nothing of the batch is stored
                    raise
                self._positions[key] = batch.offsets[-1] + 1
                self._unflushed[batch.topic] += len(batch.offsets)
        for key, end in polled.ends.items():
            if key in self._positions and end > self._positions[key]:
                self._tables[key[0]].moved(*key, end)
                self._positions[key] = end
        self._completed()
        now = self._clock.monotonic()
        for topic, changes in self._unflushed.items():
            if self._ready.is_set() and flush_due(changes, now - self._flushed[topic]):
                self._flush(topic)

    def _finished(self) -> None:
        for topic, rows in self._tables.items():
            self._flush(topic)
            LOG.info("global table %r is read", rows.name, extra={"table": rows.name})
        self._ready.set()

    def _flush(self, topic: str) -> None:
        self._tables[topic].store.flush(wait=False)
        self._unflushed[topic] = 0
        self._flushed[topic] = self._clock.monotonic()

    def _behind(self) -> dict[str, int]:
        lags = dict.fromkeys(self.rows, 0)
        for key, position in self._positions.items():
            end = max(self._targets[key], self._reader.end(key))
            lags[self._tables[key[0]].name] += max(0, end - position)
        return lags


def wait_until_ready(tables: GlobalTables, clock: Clock, stopping: Callable[[], bool], stats: Stats) -> bool:
    """Wait until all tables have been read; return False if a stop was requested first.

    Raises the failure of the thread that reads them.
    """
    while not tables.ready(stats):
        if stopping():
            return False
        clock.sleep(PAUSE_MS // 4)
    return True
