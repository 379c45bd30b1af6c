"""Draw the kinds of faults of a schedule from its seed.

Each schedule enables only some kinds of faults: a bug that needs many faults of one kind is masked when everything
happens at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from tidemill.engine.assignment.assignment import AssignmentPolicy

from .broker import Network
from .bucket import BucketFaults
from .programs import FORMERS, LOOKING_UP, PROGRAMS, SESSIONS
from .timed import TIMED

__all__ = ["TIMED_SEEDS", "Trouble", "drawn", "gone_deletions"]

TIMED_SEEDS = range(10, 1 << 30, 16)
"""The seeds of schedules whose results depend on event time."""
FORGETTING = "forgetting"
"""The program that deletes keys: for separate schedules."""
HOT = ("commit", "abort", "send offsets", "add offsets", "init", "failpoint", "list offsets", "flush")
"""Prefixes of the points at which deaths and pauses are most interesting."""


@dataclass(frozen=True)
class Trouble:
    """The parameters of a schedule: its program, settings and faults."""

    program: str
    partitions: int
    guarantee: str
    processes: int
    most: int
    """The maximum number of processes at a time."""
    records: int
    keys: int
    turns: int
    """The duration of the fault phase, in turns."""
    chances: dict[str, float]
    """The probability of each kind of fault, per turn."""
    hot: dict[str, float]
    """The probability of each kind of fault at each point in `HOT`."""
    network: Network
    failures: float
    corrupts: float
    deletions_kept: int
    """The `delete.retention.ms` of changelogs."""
    settings: dict[str, Any]
    membership: dict[str, Any]
    static: bool = False
    """Whether processes have an instance id, one per directory."""
    behead: float = 0.0
    """The probability that the start offset of a compacted changelog moves to its first remaining record."""
    durability: str = "changelog"
    bucket: BucketFaults | None = None
    """The faults of the snapshot storage; None if there is none."""
    former: str = ""
    """The earlier version of the program that some processes run during the fault phase; "" for none."""


def drawn(seed: int) -> Trouble:
    """Return the parameters for a seed."""
    return with_snapshots(seed, without_snapshots(seed)) if seed % 4 == 1 else without_snapshots(seed)


def with_snapshots(seed: int, trouble: Trouble) -> Trouble:
    """Add a snapshot storage, in addition to changelogs or, mostly, instead of them."""
    chance = random.Random(f"snapshots {seed}")
    some = chance.random
    bucket = BucketFaults(*(some() * 0.1 if some() < 0.5 else 0.0 for _ in range(3)), longest=chance.choice((20, 300)))
    interval = chance.choice((20, 40, 80))
    trouble = replace(
        trouble,
        bucket=bucket,
        chances={**trouble.chances, "bucket": some() * 0.01 if some() < 0.4 else 0.0},
        settings={**trouble.settings, "snapshots": "file:///bucket", "snapshot_interval": interval},
    )
    if some() < 0.3:
        return trouble
    return replace(
        trouble,
        durability="snapshot",
        program="one step" if trouble.program == "in memory" else trouble.program,
        settings={
            **trouble.settings,
            "durability": "snapshot",
            "rebalance_timeout": 300,
            "commit_hold": 20,
            "transaction_timeout": chance.choice((600, 2_000)),
            "session_timeout": 300,
            "heartbeat_interval": 100,
        },
    )


def without_snapshots(seed: int) -> Trouble:
    """Return the parameters for a seed without a snapshot storage."""
    if seed % 8 == 7:
        return gone_deletions(seed)
    if seed % 16 == 4:
        return replace(mixed(seed), program=SESSIONS, former="")
    if seed % 16 == 12:
        return changing_tables(seed)
    if seed in TIMED_SEEDS:
        return timed(seed)
    return mixed(seed)


def changing_tables(seed: int) -> Trouble:
    """Return a schedule with a changing global table; half of them delete its tombstones soon."""
    trouble = gone_deletions(seed) if seed % 32 == 12 else mixed(seed)
    chances = trouble.chances | {"compact": 0.05}
    settings = trouble.settings | {"metadata_interval": 100}
    return replace(trouble, program=LOOKING_UP, former="", chances=chances, settings=settings)


def timed(seed: int) -> Trouble:
    """Return a schedule whose results depend on event time. The wall clock does not jump: it decides about idleness.

    Tasks have many records and stores, so commits are delayed less than in other schedules.
    """
    trouble = mixed(seed)
    chance = random.Random(f"time {seed}")
    return replace(
        trouble,
        program=chance.choice(sorted(TIMED)),
        former="",
        guarantee="exactly_once",
        chances=trouble.chances | {"jump": 0.0},
        records=trouble.records * 2,
        network=replace(trouble.network, marker_longest=min(trouble.network.marker_longest, 100)),
    )


def gone_deletions(seed: int) -> Trouble:
    """Return a schedule with short-lived tombstones, for stores that are reused after a while. Consumers must read
    them in time, so no process is paused."""
    trouble = mixed(seed)
    chance = random.Random(f"deletions {seed}")
    still = ("freeze", "cut", "outage", "jump")
    policy = replace(trouble.membership["policy"], standbys=0)
    return replace(
        trouble,
        program=FORGETTING,
        former="",
        static=False,
        guarantee="exactly_once",
        chances={kind: 0.0 if kind in still else likely for kind, likely in trouble.chances.items()}
        | {"compact": 0.05, "kill": 0.01, "start": 0.02},
        hot={**trouble.hot, "freeze": 0.0},
        network=replace(trouble.network, lose_request=0.0, lose_answer=0.0, late_request=0.0, longest=20),
        deletions_kept=chance.choice((300, 500, 1000)),
        turns=trouble.turns * 3,
        records=trouble.records * 3,
        membership={**trouble.membership, "policy": policy},
    )


def mixed(seed: int) -> Trouble:
    """Return a schedule with all kinds of faults, each with some probability."""
    trouble = common(seed)
    chance = random.Random(f"disks and caches {seed}")
    some = chance.random
    return replace(
        trouble,
        behead=chance.choice((0.0, 0.5)),
        chances=trouble.chances | {"damage": some() * 0.01 if some() < 0.15 else 0.0},
        settings=trouble.settings | {"cache_bytes": chance.choice((0, 300, 1000, 64 << 20))},
    )


def common(seed: int) -> Trouble:
    """Return the faults that are most likely to lead to others."""
    chance = random.Random(seed)
    some = chance.random

    def maybe(likely: float, most: float) -> float:
        return some() * most if some() < likely else 0.0

    program = chance.choice(sorted(PROGRAMS.keys() - {FORGETTING, SESSIONS, LOOKING_UP, *TIMED}))
    processes = chance.choice((1, 2, 2, 2, 3))
    commit_interval = chance.choice((10, 20, 40, 80))
    return Trouble(
        program=program,
        partitions=chance.choice((1, 2, 2, 3)),
        guarantee="exactly_once" if some() < 0.8 else "at_least_once",
        processes=processes,
        most=chance.choice((processes, 3)),
        records=chance.randint(8, 40),
        keys=chance.randint(1, 4),
        turns=chance.randint(100, 600),
        chances={
            "kill": maybe(0.6, 0.01),
            "freeze": maybe(0.4, 0.008),
            "stop": maybe(0.4, 0.005),
            "start": maybe(0.6, 0.02),
            "cut": maybe(0.2, 0.004),
            "outage": maybe(0.15, 0.002),
            "remove the living": maybe(0.2, 0.004),
            "expire": maybe(0.1, 0.002),
            "compact": maybe(0.3, 0.01),
            "jump": maybe(0.1, 0.01),
            "move": maybe(0.15, 0.004),
        },
        hot={"kill": maybe(0.4, 0.08), "freeze": maybe(0.3, 0.06)},
        network=Network(
            lose_request=maybe(0.3, 0.03),
            lose_answer=maybe(0.3, 0.03),
            late_request=maybe(0.25, 0.03),
            slow=maybe(0.4, 0.1),
            longest=chance.choice((20, 100, 400)),
            late_marker=maybe(0.5, 0.5),
            marker_longest=chance.choice((20, 100, 500)),
            room=chance.choice((2, 1000, 1000, 1000)),
            whole=1.0 if program == "slow" else chance.choice((0.0, 0.5, 1.0)),
        ),
        failures=maybe(0.1, 0.02),
        corrupts=maybe(0.2, 0.3),
        deletions_kept=24 * 60 * 60 * 1000,
        settings={
            "commit_interval": commit_interval,
            "commit_hold": chance.choice((20, 100, 500)),
            "max_batch": chance.choice((1, 3, 10, 1000)),
            "idle": chance.choice((0, 100, 300)),
            "purge_interval": chance.choice((100, 1000, 30_000)),
            "retry_timeout": 60_000,
            "max_buffer_bytes": chance.choice((1, 500, 64 << 20)),
        },
        membership={
            "session_timeout": chance.choice((300, 600, 1500)),
            "heartbeat_interval": chance.choice((50, 100)),
            "rebalance_timeout": chance.choice((400, 1000, 3000)),
            "max_poll_interval": 600 if program == "slow" else 300_000,
            "policy": AssignmentPolicy(
                standbys=chance.choice((0, 0, 1)),
                small=chance.choice((0, 1 << 20)),
                acceptable_lag=chance.choice((0, 3, 10_000)),
            ),
        },
        static=some() < 0.25,
        former=chance.choice(FORMERS[program]).name if program in FORMERS and some() < 0.4 else "",
    )
