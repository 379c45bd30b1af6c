"""Reads the topics of global tables, all partitions of them, in a thread with a client of its own.

At the start the tables are read up to where their topics end; until then nothing is processed. A store that is on disk
from before goes on where it was, unless it cannot stand for what its topic holds: then it is emptied and read anew, as
it is when the topic was deleted and made again, at the start or in mid-run. New partitions are taken up in mid-run.

    begin ──▶ catching up ──▶ ready ──▶ following ─┐
                   ▲                               │ the topic is another one, or an offset is gone
                   └───────────────────────────────┘
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from ...state.restore import UseLocal, outdated, plan_restore
from ...state.store import StateError
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
from .open_transactions import Waits

__all__ = ["GlobalTables", "wait_until_ready"]

LOG = logging.getLogger("tidemill.tables")
Key = tuple[str, int]
BATCH = 5_000
PAUSE_MS = 200
PATIENCE_SECONDS = 3.0
LOOKS_MISSED = 3
"""How many looks at the topics may be missed, however short deletions are kept, by a table that is read as it is
written."""


class GlobalTables:
    """All global tables of a process. Everything but `run` is for the loop's thread."""

    def __init__(
        self,
        tables: Sequence[GlobalRows],
        topics: Topics,
        reader: ChangelogReader,
        clock: Clock,
        look_interval: int,
        patience: int,
    ) -> None:
        """The topics are looked at every `look_interval` ms; one that is gone is waited for `patience` ms."""
        self.rows: Mapping[str, GlobalRows] = {table.name: table for table in tables}
        self._tables = {table.topic: table for table in tables}
        self._topics = topics
        self._reader = reader
        self._clock = clock
        self._look_interval = look_interval
        self._patience = patience
        self._positions: dict[Key, int] = {}
        self._targets: dict[Key, int] = {}
        self._ends: dict[Key, tuple[int, int]] = {}
        """Where partitions ended at what time by the wall clock, until they are read up to there."""
        self._complete: dict[Key, int] = {}
        """When each partition was last known to be read to its end."""
        self._kept: Mapping[str, int] = {}
        """For how long each topic keeps deletions, in ms."""
        self._waits = Waits(clock)
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
        """Starts the thread, if there are tables."""
        if self.rows:
            self._thread.start()

    def ready(self, stats: Stats) -> bool:
        """Whether all tables are as far as their topics were when they were begun. Raises what made the thread fail."""
        if self._failure is not None:
            raise self._failure
        for rows in self.rows.values():
            stats.skipped(rows.skips.take())
            stats.doubted(rows.doubts())
        stats.looked_up(self._lags, {where: n for rows in self.rows.values() for where, n in rows.drops().items()})
        return self._ready.is_set()

    def close(self) -> None:
        """Stops the thread and closes the stores; one that waits for Kafka is not waited for."""
        self._closing.set()
        self._thread.join(PATIENCE_SECONDS)
        if not self._thread.alive:
            for rows in self.rows.values():
                rows.store.close()

    def run(self) -> None:
        """What the thread does until it is closed."""
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
        """Takes what there is, waiting up to `timeout` seconds; looks at the topics when it is time."""
        now = self._clock.monotonic()
        if self._looked is None or now - self._looked >= self._look_interval:
            self._look()
            self._looked = now
        try:
            polled = self._reader.poll(BATCH, timeout)
        except OffsetGone as failure:
            LOG.warning("%s", failure)
            for topic in self._tables:
                self._rebuild(topic, "records that it had not read yet are gone")
            return
        except Retryable:
            self._read_again()  # what other partitions delivered is lost with it
            raise
        except Fatal:
            self._looked, before = None, dict(self._positions)
            self._look()  # a topic that was deleted may have been made again
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
        """Takes up new partitions, and notices a topic that is not the one it was."""
        found = self._topics.identities(list(self._tables))
        missing = sorted(self._tables.keys() - found.keys())
        if missing:
            self._wait_for(missing)
        self._gone_since = None
        for topic, (identity, partitions) in found.items():
            rows = self._tables[topic]
            if identity and rows.identity != identity:
                if rows.identity:
                    self._rebuild(topic, "its topic was deleted and made again")
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
        if now - self._gone_since > self._patience:
            raise Fatal(
                f"the topic {names} of a global table does not exist any more: create it again, with the rows that "
                "the table is to have, or take the table out of the program"
            )
        raise Retryable(f"the topic {names} of a global table does not exist")

    def _begin_all(self, rows: GlobalRows, keys: list[Key]) -> None:
        """Begins to read a table: where its store is, or from the beginning."""
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

    def _begin(self, starts: Mapping[Key, int], ends: Mapping[Key, int], now: int) -> None:
        """Begins to read; a partition that begins with nothing misses nothing from `now` on."""
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
        """Asks where the partitions end now: when they are read up to there they are complete as of now."""
        now = self._clock.now()
        stable = self._topics.ends(self._positions, committed=True)
        self._ends.update({key: (end, now) for key, end in stable.items() if key not in self._ends})
        self._waits.seen(self._positions, stable, self._topics.ends(self._positions, committed=False))
        self._completed()

    def _completed(self) -> None:
        """Keeps which partitions are complete, as far as that is news."""
        for key, (end, asked) in list(self._ends.items()):
            if self._positions[key] >= end:
                del self._ends[key]
                self._complete[key] = asked
                self._tables[key[0]].complete(*key, asked)

    def _stood_still(self) -> bool:
        """Whether a table was not complete for so long that deletions may be gone: it is read again then."""
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
        """Reads everything again from where the tables are."""
        self._reader.unassign(self._positions)
        self._reader.assign(self._positions)

    def _rebuild(self, topic: str, why: str) -> None:
        """Empties a table and reads it anew; nothing is processed until that is done."""
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
                self._tables[batch.topic].apply(batch)
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
    """Waits for all tables to be read; False when a stop was asked for meanwhile. Raises what makes it impossible."""
    while not tables.ready(stats):
        if stopping():
            return False
        clock.sleep(PAUSE_MS // 4)
    return True
