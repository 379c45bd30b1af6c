"""What one process has done so far and how it stands: plain counters and levels.

The loop owns the one `Stats` of a process and tells it of runs and commits, never of single records; a few times a
second it looks at the tasks. Metrics, health and the log read it from other threads, which is safe because every dict
is replaced, never changed. Nothing here decides anything.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ...operators.errors import RecordError
from ..counters import largest, summed
from ..dropped_records import DoubtLines, LateLines, SkipLines
from .load import Sample

__all__ = ["COMMIT_BUCKETS", "Histogram", "Stats", "Totals", "Watched"]

LOG: Final = logging.getLogger("tidemill")
Key = tuple[str, int]
Place = tuple[str, str]

COMMIT_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""

LOOK_MS: Final = 250
"""How often the tasks are looked at."""
SIZE_MS: Final = 5_000
"""How often the stores are asked for their size."""
SAMPLE_MS: Final = 1_000
"""How often a sample for the load is taken."""
SAMPLES: Final = 20


class Sized(Protocol):
    """A store, as far as it matters here."""

    def size(self) -> int: ...


class Watched(Protocol):
    """A running task, as far as it matters here."""

    @property
    def id(self) -> Any: ...
    @property
    def records_in(self) -> int: ...
    @property
    def stream_time(self) -> int: ...
    @property
    def dirty_bytes(self) -> int: ...
    @property
    def stores(self) -> Mapping[str, Sized]: ...

    def positions(self) -> dict[Key, int]: ...
    def buffered(self) -> dict[Key, int]: ...
    def drops(self) -> dict[Place, int]: ...
    def skips(self) -> list[RecordError]: ...
    def lateness(self) -> dict[str, int]: ...
    def doubts(self) -> dict[str, str]: ...
    def misses(self) -> dict[str, int]: ...


class Changed(Protocol):
    """Sealed work, as far as it matters here."""

    @property
    def changes(self) -> Sequence[object]: ...


class Restoring(Protocol):
    """The progress of a restore, as far as it matters here."""

    @property
    def done(self) -> int: ...
    @property
    def to_do(self) -> int: ...


class Histogram:
    """Counts of observations by upper bound, the last one without a bound."""

    def __init__(self, bounds: tuple[float, ...] = COMMIT_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Adds one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)


@dataclass
class Stats:
    """Counters go up and never down while the process lives; levels are what is so now."""

    # counters
    records_in: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records processed, by task."""
    records_out: int = 0
    """Records written to the program's and to repartition topics."""
    changes: int = 0
    """Changes of state that were committed."""
    dropped: Mapping[Place, int] = field(default_factory=dict[Place, int])
    """Records dropped, by step and reason."""
    commit_seconds: Histogram = field(default_factory=Histogram)
    """How long commits took, the writing of the stores included."""
    aborts: int = 0
    """Commits that failed and were undone."""
    rebalances: int = 0
    """Times the tasks of this process were assigned anew."""
    losses: int = 0
    """Times this process lost its tasks without having given them away."""
    restored: int = 0
    """Changelog records read into stores of tasks that run since."""
    poll_seconds: float = 0.0
    """Time the loop spent waiting for records and taking them."""
    process_seconds: float = 0.0
    """Time the loop spent in steps and in handing their output to the client."""

    # levels
    joined: bool = False
    """True while this process is a member of the group and has been told its tasks."""
    running: int = 0
    """Tasks that run."""
    restoring: int = 0
    """Tasks whose state is being restored."""
    restore_remaining: int = 0
    """Changelog records still to read before all tasks of this process run."""
    copies: Mapping[str, int] = field(default_factory=dict[str, int])
    """Changelog records that each copy of a task in this process is behind."""
    lag: Mapping[Key, int] = field(default_factory=dict[Key, int])
    """Records between the position and the end, by input partition."""
    table_lag: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records still to read, by global table."""
    stream_time: Mapping[str, int] = field(default_factory=dict[str, int])
    """Newest event time processed in ms, by task."""
    state_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Size of the stores, by task."""
    misses: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records that looked for a row and found none, by step."""
    dirty_bytes: int = 0
    """Decoded state that waits for a commit."""
    buffer_bytes: int = 0
    """Records fetched that wait to be processed."""
    tasks: int = 0
    """Tasks of the whole application."""
    samples: tuple[Sample, ...] = ()
    """Of the last seconds, since partitions last came or went: what the load is worked out from."""
    turned: int = 0
    """When the main thread last made progress, in ms; 0 before it did. It stands still while a call hangs."""

    _ends: dict[Key, int] = field(default_factory=dict[Key, int])
    """End offsets that the consumer has met. They count the markers of transactions, which no task sees."""

    # what closed tasks had counted
    _earlier_in: dict[str, int] = field(default_factory=dict[str, int])
    _earlier_drops: dict[Place, int] = field(default_factory=dict[Place, int])
    _earlier_misses: dict[str, int] = field(default_factory=dict[str, int])
    _table_drops: dict[Place, int] = field(default_factory=dict[Place, int])
    _looked: int = 0
    _sampled: frozenset[Key] = frozenset()
    _sized: int = 0
    _skip_lines: SkipLines = field(default_factory=SkipLines)
    _late_lines: LateLines = field(default_factory=LateLines)
    _lateness: dict[str, int] = field(default_factory=dict[str, int])
    _doubt_lines: DoubtLines = field(default_factory=DoubtLines)

    def turn(self, tasks: Iterable[Watched], end: Callable[[Key], int], now: int) -> None:
        """The main thread makes progress: called between turns, and between the runs of tasks.

        `end` gives the end offset of a partition, -1 when it is not known.
        """
        self.turned = now
        if abs(now - self._looked) < LOOK_MS:
            return
        self._looked = now
        tasks = list(tasks)
        self._look(tasks, end)
        self._sample(now)
        if abs(now - self._sized) >= SIZE_MS or len(self.state_bytes) != len(tasks):
            self._sized = now
            self.state_bytes = {str(task.id): sum(store.size() for store in task.stores.values()) for task in tasks}

    def _look(self, tasks: list[Watched], end: Callable[[Key], int]) -> None:
        records_in = summed(self._earlier_in, *({str(task.id): task.records_in} for task in tasks))
        dropped = summed(self._earlier_drops, self._table_drops, *(task.drops() for task in tasks))
        misses = summed(self._earlier_misses, *(task.misses() for task in tasks))
        lag: dict[Key, int] = {}
        for task in tasks:
            self._noticed(task)
            buffered = task.buffered()
            for key, position in task.positions().items():
                last = end(key)
                if last >= 0:
                    read = position if buffered.get(key) else max(position, self._ends.get(key, 0))
                    lag[key] = max(last - read, 0)
        for line in self._late_lines.lines(dropped, self.dropped, sum(lag.values()), self._lateness):
            LOG.warning("%s", line)
        self.records_in, self.dropped, self.misses, self.lag = records_in, dropped, misses, lag
        self.stream_time = {str(task.id): task.stream_time for task in tasks if task.stream_time >= 0}
        self.running = len(tasks)
        self.dirty_bytes = sum(task.dirty_bytes for task in tasks)
        self.buffer_bytes = sum(sum(task.buffered().values()) for task in tasks)

    def _sample(self, now: int) -> None:
        partitions = frozenset(self.lag)
        if partitions != self._sampled or (self.samples and now < self.samples[-1].at):
            self._sampled, self.samples = partitions, ()
        if self.samples and now - self.samples[-1].at < SAMPLE_MS:
            return
        sample = Sample(
            now, sum(self.records_in.values()), sum(self.lag.values()), self.process_seconds, self.poll_seconds
        )
        self.samples = (*self.samples[1 - SAMPLES :], sample)

    def closed(self, task: Watched) -> None:
        """A task ends in this process; what it counted stays."""
        self._earlier_in = summed(self._earlier_in, {str(task.id): task.records_in})
        self._earlier_drops = summed(self._earlier_drops, task.drops())
        self._noticed(task)
        self._earlier_misses = summed(self._earlier_misses, task.misses())
        for key in task.positions():
            self._ends.pop(key, None)
        self._looked = 0

    def spent(self, polling: int, processing: int) -> None:
        """How the loop spent its turn, in ms."""
        self.poll_seconds += polling / 1000
        self.process_seconds += processing / 1000

    def recovering(self, tasks: int, progress: Iterable[Restoring]) -> None:
        """So many tasks are being opened; how far the restores are among them."""
        self.restoring = tasks
        self.restore_remaining = sum(one.to_do - one.done for one in progress)

    def copied(self, lags: Mapping[Any, int]) -> None:
        """How far behind the copies of tasks are."""
        self.copies = {str(task): lag for task, lag in lags.items()}

    def ready(self, restored: int) -> None:
        """A task begins to run; so many changelog records were replayed for it."""
        self.restored += restored
        self._looked = 0

    def ended(self, ends: Mapping[Key, int]) -> None:
        """The consumer has read these partitions to their ends."""
        self._ends.update(ends)

    def skipped(self, errors: list[RecordError]) -> None:
        """A policy has dropped these records: the log says so."""
        for line in self._skip_lines.lines(errors, self.turned) if errors else ():
            LOG.warning("%s", line)

    def doubted(self, doubts: Mapping[str, str]) -> None:
        """Times seem to be in another unit, by step: the log says so."""
        for line in self._doubt_lines.lines(doubts) if doubts else ():
            LOG.warning("%s", line)

    def _noticed(self, task: Watched) -> None:
        """What a task has dropped and doubts."""
        self.skipped(task.skips())
        self.doubted(task.doubts())
        self._lateness = largest(self._lateness, task.lateness())

    def all_dropped(self) -> int:
        """How many records were dropped by tasks that are closed and by global tables: all, once no task runs."""
        return sum(self._earlier_drops.values()) + sum(self._table_drops.values())

    def looked_up(self, lags: Mapping[str, int], drops: dict[Place, int]) -> None:
        """How far the global tables are behind, and what they dropped so far."""
        self.table_lag = lags
        self._table_drops = drops

    def produced(self, records: int) -> None:
        """Records were handed to the client."""
        self.records_out += records

    def committed(self, ms: int, sealed: Iterable[Changed]) -> None:
        """A commit of this work succeeded."""
        self.changes += sum(len(work.changes) for work in sealed)
        self.commit_seconds.observe(ms / 1000)

    def aborted(self) -> None:
        """A commit failed and was undone: inputs are read again."""
        self.aborts += 1
        self._ends.clear()

    def assigned(self, tasks: int) -> None:
        """The group has said which tasks are ours, of so many that the application has."""
        self.joined = True
        self.tasks = tasks
        self.rebalances += 1

    def lost(self) -> None:
        """The tasks are no longer ours, and we did not give them away."""
        self.joined = False
        self.losses += 1

    def totals(self) -> Totals:
        """The figures of the log's summary line, as a value."""
        return Totals(
            records_in=sum(self.records_in.values()),
            records_out=self.records_out,
            dropped=sum(self.dropped.values()),
            commits=self.commit_seconds.count,
            commit_seconds=self.commit_seconds.total,
            aborted=self.aborts,
            lag=sum(self.lag.values()),
            running=self.running,
            restoring=self.restoring,
            restore_remaining=self.restore_remaining,
        )


@dataclass(frozen=True)
class Totals:
    """Sums over a process at one moment. The difference of two gives rates."""

    records_in: int
    records_out: int
    dropped: int
    commits: int
    commit_seconds: float
    aborted: int
    lag: int
    running: int
    restoring: int
    restore_remaining: int

    def since(self, earlier: Totals, seconds: float) -> str:
        """One line for people: rates since an earlier moment, and how things stand."""
        seconds = max(seconds, 0.001)
        commits = self.commits - earlier.commits
        parts = [
            f"{(self.records_in - earlier.records_in) / seconds:,.0f} records/s in",
            f"{(self.records_out - earlier.records_out) / seconds:,.0f}/s out",
            f"lag {self.lag:,}",
            f"{commits} commits",
        ]
        if commits:
            parts[-1] += f" of {(self.commit_seconds - earlier.commit_seconds) / commits * 1000:.0f} ms"
        if self.aborted > earlier.aborted:
            parts.append(f"{self.aborted - earlier.aborted} aborted")
        if self.dropped > earlier.dropped:
            parts.append(f"{self.dropped - earlier.dropped:,} dropped")
        parts.append(f"{self.running} tasks running")
        if self.restoring:
            parts.append(f"{self.restoring} restoring ({self.restore_remaining:,} records to go)")
        return ", ".join(parts)
