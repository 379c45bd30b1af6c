"""The settings as keyword arguments of `App(...)`, for editors and type checkers.

Generated from `settings.py` by `make reference`; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from ...operators.time.durations import Duration
from .sizes import Size

__all__ = ["Arguments"]


class Arguments(TypedDict, total=False):
    """The settings as keyword arguments of `App(...)`, except the application id."""

    broker: str
    """Address of Kafka: one broker or more of the cluster, from which the others are discovered."""
    guarantee: Literal["exactly_once", "at_least_once"]
    """The guarantee after a failure. `exactly_once`: every input affects state and outputs once, as seen by readers
    that read committed records. `at_least_once`: some outputs may be repeated."""
    commit_interval: Duration
    """How often results, state and offsets are committed. A shorter interval makes results visible sooner, a longer one
    means less work for the broker."""
    workers: int | Literal["auto"]
    """Processes on this machine that share the work. With more than one, or `auto`, a supervisor starts them, restarts
    them when they die, and serves the metrics of all. `auto`: one per processor that this machine or container may use,
    but no more than there are tasks. `tidemill scale` changes it at run time."""
    autoscale: str | None
    """The minimum and maximum number of workers, such as `2:6`: their number then follows lag and load, beginning with
    `workers`. It never exceeds the number of tasks, nor that of processors unless the minimum does."""
    autoscale_quiet: Duration
    """How long there must be too little work before `autoscale` removes workers."""
    worker: int
    """Number of this process among those that share a state directory. The supervisor sets it; set it yourself to run
    several processes of an application on one machine without a supervisor."""
    batch: bool
    """Process what is there, and end: histories (`history=`) of streams that have one, and of other topics what they
    have at the start. The next start without it goes on from there. See [history](history.md)."""
    state_dir: str | Path
    """Directory of the local state. Each application and worker has its own directory in it, so several applications
    may share it. Its loss is harmless: state is restored from the changelogs."""
    state_memory: Size
    """Memory for RocksDB in one worker: block cache and write buffers of all its stores together."""
    cache_bytes: Size
    """Memory for decoded state in one worker, including changes that wait for the next commit. When these changes fill
    half of it, a commit is made early."""
    durability: Literal["changelog", "snapshot"]
    """Where the state is durable. `changelog`: in compacted topics, with each commit. `snapshot`: in the snapshot store
    alone, without changelogs. Then a commit is made every `snapshot_interval` instead of every `commit_interval`, when
    the snapshots of all tasks are stored. See [durability](durability.md)."""
    snapshots: str | None
    """Where snapshots of the state are stored: a directory that all machines share (`file:///mnt/backup`), or an object
    store (`s3://`, `gs://`, `abfs://`, `hdfs://`). A task without state on its machine restores the newest one, and
    replays only later changelog records. See [durability](durability.md)."""
    snapshot_interval: Duration
    """How often a snapshot of each task's state is taken, if it has changed. With `durability` "snapshot", how often
    results, state and offsets are committed."""
    snapshot_bandwidth: Size | None
    """Maximum rate at which one worker uploads snapshots, in bytes per second."""
    snapshots_keep: int
    """Number of snapshots per task that are kept. Older ones are deleted an hour after they were superseded."""
    max_batch: int
    """Maximum number of records taken from Kafka, and processed, at a time. A batch that fits into the processor's
    cache is faster than a longer one."""
    max_buffer_bytes: Size
    """Memory for records that wait to be processed, in one worker: half of it in the Kafka client (at least 64 KiB per
    partition), half as Python objects. Partitions that use more than their share are paused."""
    idle: Duration
    """How long a task that reads several partitions waits for one that may have older records but delivers none, before
    it continues without it. Partitions known to be at their end are not waited for."""
    stop_timeout: Duration
    """How long a clean stop may take, including the last commit, before the process exits without it."""
    instance_id: str | None
    """Makes this process a static member: if it restarts within the session timeout, it gets its tasks back and no task
    moves. Must be different in each process; a worker adds its number."""
    session_timeout: Duration
    """How long the group waits for a silent member before it assigns its tasks to others."""
    heartbeat_interval: Duration | None
    """How often a member sends a heartbeat; at most a third of `session_timeout`. Default: that third, but at least
    every 3 s."""
    max_poll_interval: Duration
    """Maximum time to process one batch, for example if one of your functions hangs. After that the process leaves the
    group, and its tasks move elsewhere."""
    rebalance_timeout: Duration
    """How long members have to join a rebalance before the group continues without them."""
    commit_hold: Duration
    """How long a commit is held back while the member waits for a rebalance."""
    transaction_timeout: Duration
    """Time after which the broker ends the transaction of a process that is gone. More than `rebalance_timeout` and
    `commit_hold` together, and at most the broker's `transaction.max.timeout.ms`. With `durability` "snapshot" it is at
    least three times `snapshot_interval`, up to 15 minutes."""
    standbys: int
    """Number of copies of each task's state, on other machines than the task and, if racks are known, in other racks.
    With one, a task of a process that dies continues elsewhere without a restore."""
    rack: str | None
    """Where this process runs: a rack or an availability zone, by the name that brokers have in `broker.rack`. Standbys
    are placed in other racks, and records are read from replicas in this one if brokers have a
    `replica.selector.class`."""
    near_leaders: bool
    """Prefer to run tasks in the racks of their input partitions' leaders, with a somewhat less even distribution.
    Requires `rack`."""
    acceptable_lag: int
    """A copy that is at most this many changelog records behind counts as caught up: a task moves to it at once."""
    warming_bytes: Size
    """Maximum amount of state that a process copies at a time for tasks that will move to it, but always that of one
    task. Meanwhile the tasks run where they are."""
    least_gain: float
    """A task is not moved to balance load if that gains less than this fraction of the mean load of a process."""
    balance_interval: Duration
    """A change of load, or of the racks of partition leaders, causes a rebalance at most this often."""
    replication_factor: int
    """Number of replicas of each internal topic; -1 is the broker's default."""
    purge_interval: Duration
    """How often the broker is asked to delete processed and committed records from the application's repartition
    topics, which would otherwise grow forever."""
    metadata_interval: Duration
    """How often the input topics are checked for new partitions, and the cluster for new topics that match a
    pattern."""
    misplaced_keys: Literal["stop", "warn", "ignore"]
    """What to do if input topics of a step are partitioned by key in different ways, so that records of one key are in
    different partitions."""
    topic_timeout: Duration
    """How long to wait at startup for an input or output topic that does not exist."""
    connect_timeout: Duration
    """How long to try to connect to Kafka at startup."""
    retry_timeout: Duration
    """How long to retry if Kafka cannot be reached at run time, whether or not there is anything to do."""
    librdkafka: Mapping[str, str | int | float | bool]
    """Options for the Kafka client, by their names in librdkafka: TLS and SASL, fetch sizes, `linger.ms` and so on.
    Options that would break a guarantee are refused."""
    web: int | None
    """Port of the HTTP server for `/metrics`, `/health/live` and `/health/ready`; 0 uses a free one and prints it."""
    web_host: str
    """Address of the HTTP server. The default can be reached only from this machine, since there is no authentication;
    in a container use `"0.0.0.0"`."""
    log_format: Literal["auto", "text", "json"]
    """Format of the log on standard error. `auto`: text, coloured on a terminal. `json`: one object per line."""
    log_level: Literal["debug", "info", "warning", "error"]
    """The lowest level that is logged."""
    log_summary: Duration
    """How often a line with rates, lag and commits is logged; 0 for never."""
