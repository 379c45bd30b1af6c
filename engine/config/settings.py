"""The settings of a running application: frozen, values only.

Every setting is declared once, in `Settings`, with its default, its kind and its meaning; the reference page, the
command line and the checks are made from that. Values are what the engine uses: durations are int milliseconds, sizes
int bytes. Where settings come from and which source wins is decided in `sources.py`.
"""

# ruff: noqa: RUF009 - declare() makes a dataclass field, as dataclasses.field() does

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ...operators.time.durations import format_duration
from ..errors import ConfigError
from . import values as kinds
from .arguments import Guarantee, MisplacedKeys
from .fields import Setting, about, declare
from .librdkafka import refusals
from .worker_bounds import Bounds

__all__ = ["DEFAULTS", "SETTINGS", "Settings"]

APPLICATION: Final = "Application"
STATE: Final = "State"
FLOW: Final = "Flow"
GROUP: Final = "Group membership and transactions"
PLACEMENT: Final = "Placement of tasks"
TOPICS: Final = "Topics and Kafka"
SERVE: Final = "Metrics, health and log"
HEARTBEAT_MS: Final = 3_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one process. Raises ConfigError when two of them are at odds."""

    app_id: str = dataclasses.field(
        metadata=about(
            APPLICATION,
            kinds.name(),
            "The application id: name of the consumer group and beginning of the names of internal topics. The first "
            "argument of `App(...)`; setting it elsewhere runs the same program as another application.",
        )
    )
    broker: str = declare(
        "localhost:9092",
        APPLICATION,
        kinds.brokers(),
        "Where Kafka is: one broker or more of the cluster, from which the others are learned.",
    )
    guarantee: Guarantee = declare(
        "exactly_once",
        APPLICATION,
        kinds.choice("exactly_once", "at_least_once"),
        "What holds after a failure. `exactly_once`: every input has its effect on state and outputs once, seen by "
        "readers that read committed records. `at_least_once`: some outputs may be repeated.",
    )
    commit_interval: int = declare(
        100,
        APPLICATION,
        kinds.duration(at_least=1),
        "How often results, state and offsets are committed. Shorter means results are visible sooner, longer means "
        "less work for the broker.",
    )
    workers: int | Literal["auto"] = declare(
        1,
        APPLICATION,
        kinds.workers(),
        "Processes on this machine that share the work. With more than one, or `auto`, a supervisor starts them, "
        "starts them again when they die, and serves the metrics of all. `auto`: one for each processor that this "
        "machine or container may use, and no more than there are tasks. `tidemill scale` changes it at run time.",
    )
    autoscale: Bounds | None = declare(
        None,
        APPLICATION,
        kinds.optional(kinds.bounds()),
        "The least and the most workers, `2:6`: their number then follows lag and load, beginning with `workers`, and "
        "is never above that of tasks, nor above that of processors unless the least is.",
    )
    autoscale_quiet: int = declare(
        180_000,
        APPLICATION,
        kinds.duration(at_least=10_000),
        "For how long there must have been too little work before `autoscale` takes workers away.",
    )
    worker: int = declare(
        0,
        APPLICATION,
        kinds.integer(0, 9999),
        "Number of this process among those that share a state directory. The supervisor sets it; set it yourself to "
        "run several processes of an application on one machine by hand.",
    )
    state_dir: Path = declare(
        Path("tidemill-state"),
        STATE,
        kinds.path(),
        "Directory of the local state. Each application and worker has a directory of its own in it, so several "
        "applications may share it. Losing it loses nothing: state is restored from the changelogs.",
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
        "Memory for decoded state in one worker, changes that wait for the next commit included. When the changes "
        "alone fill half of it, a commit is made early.",
    )
    max_batch: int = declare(
        2_000,
        FLOW,
        kinds.integer(1, 1_000_000),
        "Maximum number of records taken from Kafka, and processed, at a time. A batch that stays in the processor's "
        "cache is quicker than a longer one.",
    )
    max_buffer_bytes: int = declare(
        64 << 20,
        FLOW,
        kinds.size(at_least=1 << 20),
        "Memory for records that wait to be processed, in one worker: half of it in the Kafka client (at least 64 KiB "
        "a partition), half as Python holds them. Partitions that hold more than their share are paused.",
    )
    idle: int = declare(
        10_000,
        FLOW,
        kinds.duration(),
        "How long a task that reads several partitions waits for one that may still hold older records and delivers "
        "none, before it goes on without it. Partitions known to be at their end are not waited for.",
    )
    stop_timeout: int = declare(
        25_000,
        FLOW,
        kinds.duration(at_least=1000),
        "How long a clean stop may take, last commit included, before the process ends without it.",
    )
    instance_id: str | None = declare(
        None,
        GROUP,
        kinds.optional(kinds.name()),
        "Makes this process a static member: restarted within the session time-out, it gets its tasks back and nothing "
        "moves. Must be different in each process; a worker adds its number.",
    )
    session_timeout: int = declare(
        45_000,
        GROUP,
        kinds.duration(at_least=1000),
        "How long the group waits for a silent member before it gives its tasks to others.",
    )
    heartbeat_interval: int | None = declare(
        None,
        GROUP,
        kinds.optional(kinds.duration(at_least=100)),
        "How often a member says that it is alive; at most a third of `session_timeout`. Unless it is set: that third, "
        "but at least every 3 s.",
    )
    max_poll_interval: int = declare(
        300_000,
        GROUP,
        kinds.duration(at_least=1000),
        "Longest time one batch may take, such as a call of a function of yours that hangs. After that the process "
        "gives up its membership, and its tasks move elsewhere.",
    )
    rebalance_timeout: int = declare(
        30_000,
        GROUP,
        kinds.duration(at_least=1000),
        "How long members have to take part in a rebalance before the group goes on without them.",
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
        "After what time the broker ends a transaction of a process that vanished. More than `rebalance_timeout` and "
        "`commit_hold` together, and no more than the broker's `transaction.max.timeout.ms`.",
    )
    standbys: int = declare(
        0,
        PLACEMENT,
        kinds.integer(0, 100),
        "Copies that are kept of each task's state, on other machines than the task and, where racks are known, in "
        "other racks. With one, a task whose process dies goes on elsewhere without a restore.",
    )
    rack: str | None = declare(
        None,
        PLACEMENT,
        kinds.optional(kinds.name()),
        "Where this process runs: a rack or an availability zone, by the name that brokers have in `broker.rack`. "
        "Standbys go to other racks, and records are read from replicas in this one where brokers have a "
        "`replica.selector.class`.",
    )
    near_leaders: bool = declare(
        False,
        PLACEMENT,
        kinds.truth(),
        "Prefers to run tasks in the racks where the leaders of their input partitions are, at the cost of some "
        "evenness. Needs `rack`.",
    )
    acceptable_lag: int = declare(
        10_000,
        PLACEMENT,
        kinds.integer(0),
        "A copy that is at most so many changelog records behind counts as caught up: a task moves to it at once.",
    )
    warming_bytes: int = declare(
        16 << 30,
        PLACEMENT,
        kinds.size(at_least=1),
        "A process copies at most so much state at a time of tasks that are to move to it, but always that of one. "
        "Meanwhile they run where they are.",
    )
    least_gain: float = declare(
        0.05,
        PLACEMENT,
        kinds.share(),
        "A task is not moved for the sake of even load when that gains less than this share of the mean load of a "
        "process.",
    )
    balance_interval: int = declare(
        300_000,
        PLACEMENT,
        kinds.duration(at_least=1000),
        "A change of load, or of the racks that partitions' leaders are in, leads to a rebalance at most this often.",
    )
    replication_factor: int = declare(
        -1,
        TOPICS,
        kinds.integer(1, 32_767, special={-1: "the broker's default"}),
        "Copies of each internal topic; -1 is the broker's default.",
    )
    purge_interval: int = declare(
        30_000,
        TOPICS,
        kinds.duration(at_least=100),
        "How often the broker is asked to delete what is processed and committed from the application's repartition "
        "topics, which would otherwise grow for ever.",
    )
    metadata_interval: int = declare(
        30_000,
        TOPICS,
        kinds.duration(at_least=100),
        "How often the input topics are looked at for new partitions, and the cluster for new topics that a pattern "
        "matches.",
    )
    misplaced_keys: MisplacedKeys = declare(
        "stop",
        TOPICS,
        kinds.choice("stop", "warn", "ignore"),
        "What to do when topics that meet in a step place keys in different ways, so that records of one key cannot be "
        "found together.",
    )
    topic_timeout: int = declare(
        60_000,
        TOPICS,
        kinds.duration(),
        "How long to wait at the start for an input or output topic that does not exist.",
    )
    connect_timeout: int = declare(
        30_000,
        TOPICS,
        kinds.duration(at_least=100),
        "How long to try to reach Kafka at the start.",
    )
    retry_timeout: int = declare(
        300_000,
        TOPICS,
        kinds.duration(),
        "How long to go on trying when Kafka cannot be reached in mid-run, whether or not there is anything to do.",
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
        "Port of the HTTP server for `/metrics`, `/health/live` and `/health/ready`; 0 takes a free one and prints it.",
        in_file="web.port",
    )
    web_host: str = declare(
        "127.0.0.1",
        SERVE,
        kinds.host(),
        "Address of the HTTP server. The default can be reached from this machine alone; in a container use "
        '`"0.0.0.0"`, for there is no authentication.',
    )
    log_format: Literal["auto", "text", "json"] = declare(
        "auto",
        SERVE,
        kinds.choice("auto", "text", "json"),
        "Form of the log, on standard error. `auto`: text, coloured on a terminal. `json`: one object a line.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = declare(
        "info",
        SERVE,
        kinds.choice("debug", "info", "warning", "error"),
        "How much is logged.",
    )
    log_summary: int = declare(
        30_000,
        SERVE,
        kinds.duration(),
        "How often the log has a line with rates, lag and commits; 0 for never.",
    )

    def __post_init__(self) -> None:
        problems = [*refusals(self.librdkafka), *at_odds(self)]
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def worker_dir(self) -> Path:
        """The directory that belongs to this process alone."""
        return self.state_dir / self.app_id / f"worker-{self.worker}"

    @property
    def supervised(self) -> bool:
        """Whether a supervisor runs the workers, of which there may be one."""
        return self.workers != 1 or self.autoscale is not None

    @property
    def heartbeat(self) -> int:
        """How often a member says that it is alive, in ms."""
        return self.heartbeat_interval or min(HEARTBEAT_MS, self.session_timeout // 3)

    @property
    def member_instance_id(self) -> str | None:
        """The group.instance.id of this process, None for a dynamic member."""
        if self.instance_id is None or not self.supervised:
            return self.instance_id
        return f"{self.instance_id}-{self.worker}"


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


def at_odds(settings: Settings) -> list[str]:
    """One sentence for each rule between settings that does not hold."""
    problems: list[str] = []
    show = format_duration
    if settings.heartbeat * 3 > settings.session_timeout:
        problems.append(
            f"heartbeat_interval ({show(settings.heartbeat)}) must be at most a third of session_timeout "
            f"({show(settings.session_timeout)}), or one lost heartbeat costs the membership: set it to "
            f"{show(settings.session_timeout // 3)!r} or less"
        )
    least = settings.rebalance_timeout + settings.commit_hold
    if settings.transaction_timeout <= least:
        problems.append(
            f"transaction_timeout ({show(settings.transaction_timeout)}) must be longer than rebalance_timeout and "
            f"commit_hold together ({show(least)}), or a rebalance ends transactions in the middle: set it to "
            f"{show(least * 2)!r}, or rebalance_timeout lower"
        )
    if settings.commit_interval * 2 > settings.transaction_timeout:
        problems.append(
            f"commit_interval ({show(settings.commit_interval)}) must be at most half of transaction_timeout "
            f"({show(settings.transaction_timeout)}), or the broker ends transactions before they are committed"
        )
    if settings.near_leaders and settings.rack is None:
        problems.append("near_leaders is on, but this process does not know where it is: set rack as well")
    return problems
