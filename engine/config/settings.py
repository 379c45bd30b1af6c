"""The settings of a running application: frozen, values only.

Each setting is declared once, in `Settings`: its default, kind and meaning. The arguments of `App`, the command line,
the checks and the reference page are derived from that. Values are in the form that the engine uses: durations are int
milliseconds, sizes int bytes. `sources.py` decides where settings come from and which source wins.
"""

# ruff: noqa: RUF009 - declare() returns a dataclass field, as dataclasses.field() does

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..errors import ConfigError
from . import values as kinds
from .conflicts import conflicts
from .derived import Derived
from .fields import Setting, about, declare
from .librdkafka import refusals
from .worker_bounds import WorkerBounds

__all__ = ["DEFAULTS", "SETTINGS", "MisplacedKeys", "Settings"]
MisplacedKeys: TypeAlias = Literal["stop", "warn", "ignore"]

APPLICATION: Final = "Application"
STATE: Final = "State"
SNAPSHOTS: Final = "Snapshots"
FLOW: Final = "Flow"
GROUP: Final = "Group membership and transactions"
PLACEMENT: Final = "Placement of tasks"
TOPICS: Final = "Topics and Kafka"
SERVE: Final = "Metrics, health and log"


@dataclass(frozen=True, kw_only=True)
class Settings(Derived):
    """All settings of one process. Raises ConfigError if two of them conflict."""

    app_id: str = dataclasses.field(
        metadata=about(
            APPLICATION,
            kinds.name(),
            "The application id: name of the consumer group and prefix of the names of internal topics. The first "
            "argument of `App(...)`; setting it elsewhere runs the same program as another application.",
        )
    )
    broker: str = declare(
        "localhost:9092",
        APPLICATION,
        kinds.brokers(),
        "Address of Kafka: one broker or more of the cluster, from which the others are discovered.",
    )
    guarantee: Literal["exactly_once", "at_least_once"] = declare(
        "exactly_once",
        APPLICATION,
        kinds.choice("exactly_once", "at_least_once"),
        "The guarantee after a failure. `exactly_once`: every input affects state and outputs once, as seen by readers "
        "that read committed records. `at_least_once`: some outputs may be repeated.",
    )
    commit_interval: int = declare(
        100,
        APPLICATION,
        kinds.duration(at_least=1),
        "How often results, state and offsets are committed. A shorter interval makes results visible sooner, a longer "
        "one means less work for the broker.",
    )
    workers: int | Literal["auto"] = declare(
        1,
        APPLICATION,
        kinds.workers(),
        "Processes on this machine that share the work. With more than one, or `auto`, a supervisor starts them, "
        "restarts them when they die, and serves the metrics of all. `auto`: one per processor that this machine or "
        "container may use, but no more than there are tasks. `tidemill scale` changes it at run time.",
    )
    autoscale: WorkerBounds | None = declare(
        None,
        APPLICATION,
        kinds.optional(kinds.bounds()),
        "The minimum and maximum number of workers, such as `2:6`: their number then follows lag and load, beginning "
        "with `workers`. It never exceeds the number of tasks, nor that of processors unless the minimum does.",
    )
    autoscale_quiet: int = declare(
        180_000,
        APPLICATION,
        kinds.duration(at_least=10_000),
        "How long there must be too little work before `autoscale` removes workers.",
    )
    worker: int = declare(
        0,
        APPLICATION,
        kinds.integer(0, 9999),
        "Number of this process among those that share a state directory. The supervisor sets it; set it yourself to "
        "run several processes of an application on one machine without a supervisor.",
    )
    batch: bool = declare(
        False,
        APPLICATION,
        kinds.flag(),
        "Process what is there, and end: histories (`history=`) of streams that have one, and of other topics what "
        "they have at the start. The next start without it goes on from there. See [history](history.md).",
    )
    state_dir: Path = declare(
        Path("tidemill-state"),
        STATE,
        kinds.path(),
        "Directory of the local state. Each application and worker has its own directory in it, so several "
        "applications may share it. Its loss is harmless: state is restored from the changelogs.",
    )
    state_memory: int = declare(
        256 << 20,
        STATE,
        kinds.size(at_least=8 << 20),
        "Memory for RocksDB in one worker: block cache and write buffers of all its stores together.",
    )
    cache_bytes: int = declare(
        64 << 20,
        STATE,
        kinds.size(at_least=1 << 20),
        "Memory for decoded state in one worker, including changes that wait for the next commit. When these changes "
        "fill half of it, a commit is made early.",
    )
    durability: Literal["changelog", "snapshot"] = declare(
        "changelog",
        SNAPSHOTS,
        kinds.choice("changelog", "snapshot"),
        "Where the state is durable. `changelog`: in compacted topics, with each commit. `snapshot`: in the snapshot "
        "store alone, without changelogs. Then a commit is made every `snapshot_interval` instead of every "
        "`commit_interval`, when the snapshots of all tasks are stored. See [durability](durability.md).",
    )
    snapshots: str | None = declare(
        None,
        SNAPSHOTS,
        kinds.optional(kinds.snapshot_url()),
        "Where snapshots of the state are stored: a directory that all machines share (`file:///mnt/backup`), or an "
        "object store (`s3://`, `gs://`, `abfs://`, `hdfs://`). A task without state on its machine restores the "
        "newest one, and replays only later changelog records. See [durability](durability.md).",
    )
    snapshot_interval: int = declare(
        300_000,
        SNAPSHOTS,
        kinds.duration(at_least=1000),
        'How often a snapshot of each task\'s state is taken, if it has changed. With `durability` "snapshot", how '
        "often results, state and offsets are committed.",
    )
    snapshot_bandwidth: int | None = declare(
        None,
        SNAPSHOTS,
        kinds.optional(kinds.size(at_least=64 << 10)),
        "Maximum rate at which one worker uploads snapshots, in bytes per second.",
    )
    snapshots_keep: int = declare(
        2,
        SNAPSHOTS,
        kinds.integer(1, 1_000),
        "Number of snapshots per task that are kept. Older ones are deleted an hour after they were superseded.",
    )
    max_batch: int = declare(
        2_000,
        FLOW,
        kinds.integer(1, 1_000_000),
        "Maximum number of records taken from Kafka, and processed, at a time. A batch that fits into the processor's "
        "cache is faster than a longer one.",
    )
    max_buffer_bytes: int = declare(
        64 << 20,
        FLOW,
        kinds.size(at_least=1 << 20),
        "Memory for records that wait to be processed, in one worker: half of it in the Kafka client (at least 64 KiB "
        "per partition), half as Python objects. Partitions that use more than their share are paused.",
    )
    idle: int = declare(
        10_000,
        FLOW,
        kinds.duration(),
        "How long a task that reads several partitions waits for one that may have older records but delivers none, "
        "before it continues without it. Partitions known to be at their end are not waited for.",
    )
    stop_timeout: int = declare(
        25_000,
        FLOW,
        kinds.duration(at_least=1000),
        "How long a clean stop may take, including the last commit, before the process exits without it.",
    )
    instance_id: str | None = declare(
        None,
        GROUP,
        kinds.optional(kinds.name()),
        "Makes this process a static member: if it restarts within the session timeout, it gets its tasks back and no "
        "task moves. Must be different in each process; a worker adds its number.",
    )
    session_timeout: int = declare(
        45_000,
        GROUP,
        kinds.duration(at_least=1000),
        "How long the group waits for a silent member before it assigns its tasks to others.",
    )
    heartbeat_interval: int | None = declare(
        None,
        GROUP,
        kinds.optional(kinds.duration(at_least=100)),
        "How often a member sends a heartbeat; at most a third of `session_timeout`. Default: that third, but at least "
        "every 3 s.",
    )
    max_poll_interval: int = declare(
        300_000,
        GROUP,
        kinds.duration(at_least=1000),
        "Maximum time to process one batch, for example if one of your functions hangs. After that the process leaves "
        "the group, and its tasks move elsewhere.",
    )
    rebalance_timeout: int = declare(
        30_000,
        GROUP,
        kinds.duration(at_least=1000),
        "How long members have to join a rebalance before the group continues without them.",
    )
    commit_hold: int = declare(
        500,
        GROUP,
        kinds.duration(),
        "How long a commit is held back while the member waits for a rebalance.",
    )
    transaction_timeout: int = declare(
        60_000,
        GROUP,
        kinds.duration(at_least=1000),
        "Time after which the broker ends the transaction of a process that is gone. More than `rebalance_timeout` and "
        '`commit_hold` together, and at most the broker\'s `transaction.max.timeout.ms`. With `durability` "snapshot" '
        "it is at least three times `snapshot_interval`, up to 15 minutes.",
    )
    standbys: int = declare(
        0,
        PLACEMENT,
        kinds.integer(0, 100),
        "Number of copies of each task's state, on other machines than the task and, if racks are known, in other "
        "racks. With one, a task of a process that dies continues elsewhere without a restore.",
    )
    rack: str | None = declare(
        None,
        PLACEMENT,
        kinds.optional(kinds.name()),
        "Where this process runs: a rack or an availability zone, by the name that brokers have in `broker.rack`. "
        "Standbys are placed in other racks, and records are read from replicas in this one if brokers have a "
        "`replica.selector.class`.",
    )
    near_leaders: bool = declare(
        False,
        PLACEMENT,
        kinds.boolean(),
        "Prefer to run tasks in the racks of their input partitions' leaders, with a somewhat less even distribution. "
        "Requires `rack`.",
    )
    acceptable_lag: int = declare(
        10_000,
        PLACEMENT,
        kinds.integer(0),
        "A copy that is at most this many changelog records behind counts as caught up: a task moves to it at once.",
    )
    warming_bytes: int = declare(
        16 << 30,
        PLACEMENT,
        kinds.size(at_least=1),
        "Maximum amount of state that a process copies at a time for tasks that will move to it, but always that of "
        "one task. Meanwhile the tasks run where they are.",
    )
    least_gain: float = declare(
        0.05,
        PLACEMENT,
        kinds.fraction(),
        "A task is not moved to balance load if that gains less than this fraction of the mean load of a process.",
    )
    balance_interval: int = declare(
        300_000,
        PLACEMENT,
        kinds.duration(at_least=1000),
        "A change of load, or of the racks of partition leaders, causes a rebalance at most this often.",
    )
    replication_factor: int = declare(
        -1,
        TOPICS,
        kinds.integer(1, 32_767, special={-1: "the broker's default"}),
        "Number of replicas of each internal topic; -1 is the broker's default.",
    )
    purge_interval: int = declare(
        30_000,
        TOPICS,
        kinds.duration(at_least=100),
        "How often the broker is asked to delete processed and committed records from the application's repartition "
        "topics, which would otherwise grow forever.",
    )
    metadata_interval: int = declare(
        30_000,
        TOPICS,
        kinds.duration(at_least=100),
        "How often the input topics are checked for new partitions, and the cluster for new topics that match a "
        "pattern.",
    )
    misplaced_keys: MisplacedKeys = declare(
        "stop",
        TOPICS,
        kinds.choice("stop", "warn", "ignore"),
        "What to do if input topics of a step are partitioned by key in different ways, so that records of one key are "
        "in different partitions.",
    )
    topic_timeout: int = declare(
        60_000,
        TOPICS,
        kinds.duration(),
        "How long to wait at startup for an input or output topic that does not exist.",
    )
    connect_timeout: int = declare(
        30_000,
        TOPICS,
        kinds.duration(at_least=100),
        "How long to try to connect to Kafka at startup.",
    )
    retry_timeout: int = declare(
        300_000,
        TOPICS,
        kinds.duration(),
        "How long to retry if Kafka cannot be reached at run time, whether or not there is anything to do.",
    )
    librdkafka: Mapping[str, str] = dataclasses.field(
        default_factory=dict[str, str],
        repr=False,  # passwords may be among them
        metadata=about(
            TOPICS,
            kinds.options(),
            "Options for the Kafka client, by their names in librdkafka: TLS and SASL, fetch sizes, `linger.ms` and so "
            "on. Options that would break a guarantee are refused.",
        ),
    )
    web: int | None = declare(
        None,
        SERVE,
        kinds.optional(kinds.integer(0, 65_535)),
        "Port of the HTTP server for `/metrics`, `/health/live` and `/health/ready`; 0 uses a free one and prints it.",
        in_file="web.port",
    )
    web_host: str = declare(
        "127.0.0.1",
        SERVE,
        kinds.host(),
        "Address of the HTTP server. The default can be reached only from this machine, since there is no "
        'authentication; in a container use `"0.0.0.0"`.',
    )
    log_format: Literal["auto", "text", "json"] = declare(
        "auto",
        SERVE,
        kinds.choice("auto", "text", "json"),
        "Format of the log on standard error. `auto`: text, coloured on a terminal. `json`: one object per line.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = declare(
        "info",
        SERVE,
        kinds.choice("debug", "info", "warning", "error"),
        "The lowest level that is logged.",
    )
    log_summary: int = declare(
        30_000,
        SERVE,
        kinds.duration(),
        "How often a line with rates, lag and commits is logged; 0 for never.",
    )

    def __post_init__(self) -> None:
        problems = [*refusals(self.librdkafka), *conflicts(self)]
        if problems:
            raise ConfigError("\n".join(problems))


SETTINGS: Final[Mapping[str, Setting]] = {
    field.name: Setting(
        field.name,
        field.metadata["group"],
        field.metadata["kind"],
        field.metadata["meaning"],
        f"--{field.name.replace('_', '-')}",
        field.metadata["in_file"] or field.name,
    )
    for field in dataclasses.fields(Settings)
}
"""All settings by name, in the order of the reference page."""

DEFAULTS: Final[Mapping[str, Any]] = {
    field.name: field.default if field.default is not dataclasses.MISSING else {}
    for field in dataclasses.fields(Settings)
    if field.name != "app_id"
}
"""The default of each setting that has one."""
