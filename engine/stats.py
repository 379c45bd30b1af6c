"""What one process has done so far and how it stands: plain counters and levels.

The loop owns the one `Stats` of a process and updates it once a batch or commit, never once a record. Metrics, health
and the log read it from other threads, so a reader copies each dict before it walks it. Nothing here decides anything.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

__all__ = ["COMMIT_BUCKETS", "Histogram", "Stats", "Totals"]

COMMIT_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""


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
    records_in: dict[str, int] = field(default_factory=dict[str, int])
    """Records processed, by topic."""
    bytes_in: dict[str, int] = field(default_factory=dict[str, int])
    """Bytes of keys and values processed, by topic."""
    records_out: int = 0
    """Records written, those of changelogs and repartition topics included."""
    dropped: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """Records dropped, by step and reason."""
    commits: dict[str, int] = field(default_factory=dict[str, int])
    """Commits that succeeded, by reason."""
    commit_seconds: Histogram = field(default_factory=Histogram)
    """How long commits took, the writing of the stores included."""
    aborted: int = 0
    """Commits that failed and were undone."""
    rebalances: int = 0
    """Times the tasks of this process were assigned anew."""
    fenced: int = 0
    """Times this process lost its tasks to another."""
    restored_records: int = 0
    """Changelog records read into stores."""
    restored_bytes: int = 0
    """Bytes of those."""
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Time of the loop by what it did: poll, process, produce, commit, other."""

    # levels
    joined: bool = False
    """True while this process is a member of the group and has been told its tasks."""
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    """Tasks by state: restoring, running."""
    lag: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    """Records between the position and the end, by input partition."""
    event_time: dict[str, int] = field(default_factory=dict[str, int])
    """Newest event time processed, by topic, in ms."""
    restore_remaining: int = 0
    """Changelog records still to read before all tasks of this process run."""
    state_bytes: dict[str, int] = field(default_factory=dict[str, int])
    """Size of the stores, by task."""
    cache_bytes: int = 0
    """Decoded state in memory."""
    dirty_bytes: int = 0
    """The part of it that waits for a commit."""
    buffer_bytes: int = 0
    """Records fetched that wait to be processed."""
    progress: int = 0
    """Monotonic ms of the loop's last turn: it stands still while a call hangs."""

    def add(self, records: int, size: int, topic: str) -> None:
        """Records of a topic were processed."""
        self.records_in[topic] = self.records_in.get(topic, 0) + records
        self.bytes_in[topic] = self.bytes_in.get(topic, 0) + size

    def committed(self, reason: str, seconds: float) -> None:
        """A commit succeeded."""
        self.commits[reason] = self.commits.get(reason, 0) + 1
        self.commit_seconds.observe(seconds)

    def spent(self, phase: str, seconds: float) -> None:
        """The loop spent time."""
        self.phase_seconds[phase] = self.phase_seconds.get(phase, 0.0) + seconds

    def totals(self) -> Totals:
        """The figures of the log's summary line, as a value."""
        return Totals(
            records_in=sum(self.records_in.copy().values()),
            records_out=self.records_out,
            dropped=sum(self.dropped.copy().values()),
            commits=self.commit_seconds.count,
            commit_seconds=self.commit_seconds.total,
            aborted=self.aborted,
            lag=sum(self.lag.copy().values()),
            running=self.tasks.get("running", 0),
            restoring=self.tasks.get("restoring", 0),
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
