"""Statistics of one process: plain counters and gauges.

The loop owns the one `Stats` of a process and updates it per run and commit, never per record; a few times per second
it polls the tasks. Metrics, health and the log read it from other threads, which is safe because every dict is
replaced, never changed. Nothing here makes decisions.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ...operators.errors import RecordError
from ...state.topic_partition import TopicPartition
from ..calls.figures import CallFigures
from ..counters import largest, summed
from ..dropped_records import DoubtLines, LateLines, SkipLines
from ..registry.figures import RegistryFigures
from ..snapshots.figures import SnapshotFigures
from ..targets.figures import TargetFigures
from .load import LoadSample

__all__ = ["COMMIT_BUCKETS", "Histogram", "Stats", "Totals", "Watched"]

LOG: Final = logging.getLogger("tidemill")
LabelledStep = tuple[str, str]

COMMIT_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""

LOOK_MS: Final = 250
"""How often the tasks are polled."""
SIZE_MS: Final = 5_000
"""How often the stores are asked for their size."""
SAMPLE_MS: Final = 1_000
"""How often a sample for the load is taken."""
SAMPLES: Final = 20


class Measured(Protocol):
    """A store, reduced to its size."""

    def size(self) -> int: ...


class Watched(Protocol):
    """A running task, reduced to its figures."""

    @property
    def id(self) -> Any: ...
    @property
    def records_in(self) -> int: ...
    @property
    def stream_time(self) -> int: ...
    @property
    def dirty_bytes(self) -> int: ...
    @property
    def stores(self) -> Mapping[str, Measured]: ...

    def positions(self) -> dict[TopicPartition, int]: ...
    def buffered(self) -> dict[TopicPartition, int]: ...
    def drops(self) -> dict[LabelledStep, int]: ...
    def skips(self) -> list[RecordError]: ...
    def lateness(self) -> dict[str, int]: ...
    def doubts(self) -> dict[str, str]: ...
    def misses(self) -> dict[str, int]: ...


class Changed(Protocol):
    """A prepared commit, reduced to its changes."""

    @property
    def changes(self) -> Sized: ...


class Restoring(Protocol):
    """The progress of a restore."""

    @property
    def done(self) -> int: ...
    @property
    def to_do(self) -> int: ...
    @property
    def bytes_left(self) -> int: ...


class Histogram:
    """Counts of observations by upper bound, the last one without a bound."""

    def __init__(self, bounds: tuple[float, ...] = COMMIT_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.counts)


@dataclass
class Stats:
    """Counters never decrease while the process lives; gauges are current values."""

    # counters
    records_in: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records processed, by task."""
    records_out: int = 0
    """Records written to the program's and to repartition topics."""
    changes: int = 0
    """Committed changes of state."""
    dropped: Mapping[LabelledStep, int] = field(default_factory=dict[LabelledStep, int])
    """Records dropped, by step and reason."""
    commit_seconds: Histogram = field(default_factory=Histogram)
    """How long commits took, including writes to the stores."""
    aborts: int = 0
    """Commits that failed and were undone."""
    rebalances: int = 0
    """Times the tasks of this process were reassigned."""
    losses: int = 0
    """Times this process lost its tasks without having released them."""
    restored: int = 0
    """Changelog records replayed for tasks before they ran."""
    poll_seconds: float = 0.0
    """Time the loop spent waiting for records and receiving them."""
    process_seconds: float = 0.0
    """Time the loop spent in steps and in passing their output to the client."""

    # gauges
    joined: bool = False
    """True while this process is a member of the group and has an assignment."""
    running: int = 0
    """Running tasks."""
    restoring: int = 0
    """Tasks whose state is being restored."""
    restore_remaining: int = 0
    """Changelog records still to be read before all tasks of this process run."""
    restore_bytes_remaining: int = 0
    """Bytes of snapshots still to be downloaded before all tasks of this process run."""
    snapshots: SnapshotFigures = field(default_factory=SnapshotFigures)
    """The figures of snapshots of this process's tasks."""
    targets: TargetFigures = field(default_factory=TargetFigures)
    """The figures of writes to targets."""
    calls: CallFigures = field(default_factory=CallFigures)
    """The figures of calls of coroutine functions."""
    commit_waits: float = 0.0
    """For how many seconds the present commit has waited for its snapshots."""
    registries: tuple[RegistryFigures, ...] = ()
    """The figures of the schema registries that the program uses."""
    held: int = 0
    """Input partitions with records that cannot be decoded yet."""
    copies: Mapping[str, int] = field(default_factory=dict[str, int])
    """Changelog records by which each copy of a task in this process is behind."""
    lag: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """Records between the position and the end, by input partition."""
    table_lag: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records still to be read, by global table."""
    stream_time: Mapping[str, int] = field(default_factory=dict[str, int])
    """Newest event time processed in ms, by task."""
    state_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Size of the stores, by task."""
    misses: Mapping[str, int] = field(default_factory=dict[str, int])
    """Lookups that found no row, by step."""
    dirty_bytes: int = 0
    """Decoded state that waits for a commit."""
    buffer_bytes: int = 0
    """Fetched records that wait to be processed."""
    tasks: int = 0
    """Tasks of the whole application."""
    samples: tuple[LoadSample, ...] = ()
    """Samples of the last seconds, since the partitions last changed, from which the load is computed."""
    turned: int = 0
    """When the main thread last made progress, in ms; 0 before. It does not change while a call hangs."""

    _ends: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """End offsets that the consumer has reached. They include transaction markers, which no task sees."""

    # counters of closed tasks
    _earlier_in: dict[str, int] = field(default_factory=dict[str, int])
    _earlier_drops: dict[LabelledStep, int] = field(default_factory=dict[LabelledStep, int])
    _earlier_misses: dict[str, int] = field(default_factory=dict[str, int])
    _table_drops: dict[LabelledStep, int] = field(default_factory=dict[LabelledStep, int])
    _looked: int = 0
    _sampled: frozenset[TopicPartition] = frozenset()
    _sized: int = 0
    _skip_lines: SkipLines = field(default_factory=SkipLines)
    _late_lines: LateLines = field(default_factory=LateLines)
    _lateness: dict[str, int] = field(default_factory=dict[str, int])
    _doubt_lines: DoubtLines = field(default_factory=DoubtLines)

    def turn(self, tasks: Iterable[Watched], end: Callable[[TopicPartition], int], now: int) -> None:
        """Note progress of the main thread: called between turns, and between the runs of tasks.

        `end` returns the end offset of a partition, -1 if it is not known.
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

    def _look(self, tasks: list[Watched], end: Callable[[TopicPartition], int]) -> None:
        records_in = summed(self._earlier_in, *({str(task.id): task.records_in} for task in tasks))
        dropped = summed(self._earlier_drops, self._table_drops, *(task.drops() for task in tasks))
        misses = summed(self._earlier_misses, *(task.misses() for task in tasks))
        lag: dict[TopicPartition, int] = {}
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
        sample = LoadSample(
            now, sum(self.records_in.values()), sum(self.lag.values()), self.process_seconds, self.poll_seconds
        )
        self.samples = (*self.samples[1 - SAMPLES :], sample)

    def closed(self, task: Watched) -> None:
        """Keep the counters of a task that ends in this process."""
        self._earlier_in = summed(self._earlier_in, {str(task.id): task.records_in})
        self._earlier_drops = summed(self._earlier_drops, task.drops())
        self._noticed(task)
        self._earlier_misses = summed(self._earlier_misses, task.misses())
        for key in task.positions():
            self._ends.pop(key, None)
        self._looked = 0

    def spent(self, polling: int, processing: int) -> None:
        """Add the time that the loop spent in a turn, in ms."""
        self.poll_seconds += polling / 1000
        self.process_seconds += processing / 1000

    def recovering(self, tasks: int, progress: Iterable[Restoring]) -> None:
        """Set the number of tasks that are being opened, and their restore progress."""
        self.restoring = tasks
        progress = list(progress)
        self.restore_remaining = sum(one.to_do - one.done for one in progress)
        self.restore_bytes_remaining = sum(one.bytes_left for one in progress)

    def copied(self, lags: Mapping[Any, int]) -> None:
        """Set how far behind the copies of tasks are."""
        self.copies = {str(task): lag for task, lag in lags.items()}

    def ready(self, restored: int) -> None:
        """Note that a task begins to run after a replay of this many changelog records."""
        self.restored += restored
        self._looked = 0

    def ended(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note that the consumer has read these partitions to their ends."""
        self._ends.update(ends)

    def skipped(self, errors: list[RecordError]) -> None:
        """Log records that a policy has dropped."""
        for line in self._skip_lines.lines(errors, self.turned) if errors else ():
            LOG.warning("%s", line)

    def doubted(self, doubts: Mapping[str, str]) -> None:
        """Log timestamps that seem to be in another unit, by step."""
        for line in self._doubt_lines.lines(doubts) if doubts else ():
            LOG.warning("%s", line)

    def _noticed(self, task: Watched) -> None:
        """Log the dropped records and timestamp warnings of a task."""
        self.skipped(task.skips())
        self.doubted(task.doubts())
        self._lateness = largest(self._lateness, task.lateness())

    def all_dropped(self) -> int:
        """Return the records dropped by closed tasks and global tables: all, once no task runs."""
        return sum(self._earlier_drops.values()) + sum(self._table_drops.values())

    def looked_up(self, lags: Mapping[str, int], drops: dict[LabelledStep, int]) -> None:
        """Set how far the global tables are behind, and the records that they have dropped."""
        self.table_lag = lags
        self._table_drops = drops

    def produced(self, records: int) -> None:
        """Add records that were passed to the client."""
        self.records_out += records

    def committed(self, ms: int, prepared: Iterable[Changed]) -> None:
        """Count a successful commit of this work."""
        self.changes += sum(len(work.changes) for work in prepared)
        self.commit_seconds.observe(ms / 1000)

    def aborted(self) -> None:
        """Count a commit that failed and was undone: inputs are read again."""
        self.aborts += 1
        self._ends.clear()

    def assigned(self, tasks: int) -> None:
        """Note an assignment by the group, of an application that has `tasks` tasks."""
        self.joined = True
        self.tasks = tasks
        self.rebalances += 1

    def lost(self) -> None:
        """Note that the process has lost its tasks without having released them."""
        self.joined = False
        self.losses += 1

    def totals(self) -> Totals:
        """Return the figures of the log's summary line, as a value."""
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
            restore_bytes_remaining=self.restore_bytes_remaining,
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
    restore_bytes_remaining: int = 0

    def since(self, earlier: Totals, seconds: float) -> str:
        """Return one line of text: rates since an earlier moment, and current values."""
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
            parts.append(f"{self.restoring} restoring ({self._to_go(earlier, seconds)})")
        return ", ".join(parts)

    def _to_go(self, earlier: Totals, seconds: float) -> str:
        """Return what is left to restore, the rate, and the time that it takes at that rate."""
        found: list[str] = []
        longest = 0.0
        for left, before, unit in (
            (self.restore_bytes_remaining, earlier.restore_bytes_remaining, "bytes of snapshots"),
            (self.restore_remaining, earlier.restore_remaining, "records"),
        ):
            rate = (before - left) / seconds
            if left and rate > 0:
                longest += left / rate
                found.append(f"{left:,} {unit} to go, {rate:,.0f}/s")
            elif left or unit == "records":
                found.append(f"{left:,} {unit} to go")
        return ", ".join(found) + (f", about {longest:,.0f} s" if longest else "")
