"""Assembles the components of a process, runs them, and closes them.

They start in the order: state directory, Kafka, topics, group, recovery, loop. They close in the order: last commit,
tasks, group, directory. This module ensures that all of them are closed whatever happens.
"""

from __future__ import annotations

import logging
import platform
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Event

from ...operators.graph.topology import Topology
from ...operators.policy import ErrorPolicy
from ...state.topic_partition import TopicPartition
from ..assignment.assignment import AssignmentPolicy
from ..calls.async_calls import AsyncCallExecutor
from ..clock import Clock
from ..config.settings import Settings
from ..errors import Fatal, Retryable
from ..group.membership import Membership, MembershipSettings
from ..group.metadata.subtopology_info import subtopology_infos
from ..group.offsets import committed_metadata
from ..history.batch_end import BatchEnd
from ..history.planning import begin_histories
from ..ids import transactional_id
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.consumer import InputConsumer
from ..kafka.option_checks import check_own_options
from ..kafka.options import (
    admin_options,
    client_buffer,
    consumer_options,
    group_options,
    producer_options,
    restore_options,
)
from ..kafka.producer import PlainProducer, TransactionalProducer
from ..kafka.topics import Topics
from ..plan.alignment import unaligned
from ..plan.plan import Plan
from ..registry.startup import figures_of, resolve_when_up
from ..restore.global_rows import GlobalRows
from ..restore.global_tables import GlobalTables, wait_until_ready
from ..restore.local_storage import Local
from ..restore.recovery import Recovery
from ..restore.start_role import role_at_start
from ..restore.stores import TaskStores
from ..restore.task_factory import TaskEnvironment
from ..restore.topic_identity import refuse_unfinished
from ..savepoints.member import NoSavepoints, Savepoints
from ..savepoints.participant import SavepointParticipant
from ..serve.stats import Stats
from ..signals import StopSignals
from ..snapshots.commit_snapshots import CommitSnapshots
from ..snapshots.downloads import DownloadSource
from ..snapshots.service import SnapshotService
from ..snapshots.snapshotter import NoSnapshots, Snapshots
from ..targets.target_threads import TargetThreads
from ..tasks.output_topics import OutputTopics
from ..tasks.roles import CurrentRole
from ..tasks.snapshot_marks import check_group
from ..topics.startup import prepare
from ..topics.topic_watcher import TopicWatcher
from .garbage_collection import deferred_collection
from .housekeeping import Housekeeping, RepartitionPurger
from .intake import Intake
from .kafka_io import KafkaIO
from .loop import ProcessingLoop
from .reports import GroupReporter
from .running_tasks import RunningTasks
from .snapshot_commits import SnapshotCommits
from .state_lock import claim_with_retry
from .streams_producer import ProducerFactory, StreamsProducer
from .task_executor import TaskExecutor
from .task_manager import TaskManager

__all__ = ["Clients", "assemble", "leave_group", "membership_settings", "producers", "run_process"]

LOG = logging.getLogger("tidemill")
LEAST_ANSWER_MS = 5_000
ANSWER_SECONDS = 3.0


@dataclass(frozen=True)
class Clients:
    """The Kafka clients of a process."""

    topics: Topics
    membership: Membership
    consumer: InputConsumer
    reader: ChangelogReader
    producers: ProducerFactory


def run_process(
    topology: Topology,
    settings: Settings,
    policy: ErrorPolicy,
    stats: Stats,
    clock: Clock,
    stopping: StopSignals,
    nudged: Event | None = None,
) -> bool:
    """Run a program as one process until `stopping` returns true, or to the end of a batch.

    Raises fatal failures. Returns whether it ran as long as it should: false for a batch that was stopped before its
    end.

    `nudged` is set by the supervisor when the group has changed.
    """
    check_own_options(settings.librdkafka)
    with ExitStack() as closing:
        stores = claim_with_retry(lambda: TaskStores(settings), settings.stop_timeout, clock, stopping)
        closing.enter_context(stores)
        stopping.once_asked(stores.stopping)
        service = closing.enter_context(SnapshotService(settings, stores.scratch, clock))
        topics = Topics(admin_options(settings))
        partitioned, plan = prepare(settings.app_id, topology, settings, topics, clock, stopping)
        role = role_at_start(topology, settings, topics, clock, stopping)
        if not settings.changelogs:
            check_committed(settings, plan, clock, stopping)
        begin_histories(plan, settings, topics, clock, stopping)
        batch = BatchEnd(plan, settings, topics, clock) if settings.batch else None
        for step, repartition in unaligned(topology):
            LOG.info(
                "step %r drops late records, and which records are late after the repartition %r depends on how far "
                "apart the processes are that write to it: give its sources watermark=tm.bounded(...) if there are "
                "several",
                step,
                repartition,
            )
        stats.registries = figures_of(topology)
        if not resolve_when_up(topology, clock, stopping):
            return batch is None
        tables = global_tables(topology, settings, topics, stores, clock, policy)
        closing.callback(tables.close)
        tables.start()
        if not wait_until_ready(tables, clock, stopping, stats):
            return batch is None
        process = uuid.uuid4().hex
        membership = Membership(membership_settings(plan, settings, process, stores))
        closing.callback(membership.close)
        closing.callback(leave_group, membership, settings, stores)
        watch = TopicWatcher(partitioned, plan, topics, settings, clock)
        clients = Clients(
            topics,
            membership,
            InputConsumer(
                consumer_options(
                    settings,
                    sum(len(subtopology.inputs) * subtopology.partitions for subtopology in plan.subtopologies),
                )
            ),
            ChangelogReader(restore_options(settings, len(plan.internal)), clock),
            producers(settings, watch.fatal),
        )
        calls = AsyncCallExecutor(clock)
        closing.callback(calls.close)
        targets = TargetThreads(settings.app_id, clock, settings.retry_timeout)
        closing.callback(targets.close)
        environment, taking = (
            TaskEnvironment(policy, calls, tables, targets, CurrentRole(role), settings.app_id),
            service.begin(membership),
        )
        commits = service.begin_commits(membership)
        savepoints = savepoints_of(service, settings, membership, stores, clock)
        if isinstance(savepoints, SavepointParticipant):
            closing.callback(savepoints.close)
            savepoints.start()
        recovery, loop = assemble(
            plan,
            settings,
            clients,
            stores,
            clock,
            stats,
            environment,
            watch,
            taking,
            service.source,
            commits,
            savepoints,
            None if batch is None else batch.ends,
        )
        closing.callback(recovery.close)
        closing.callback(watch.close)
        closing.enter_context(deferred_collection())
        membership.start()
        recovery.start()
        watch.start()
        LOG.info("application %s: joining the group at %s", settings.app_id, settings.broker)
        until = stopping if nudged is None else partial(asking, membership, nudged, stopping)
        clean = loop.run(until if batch is None else lambda: until() or batch.done(loop.resting))
        dropped = stats.all_dropped()
        LOG.info(
            "stopped: %s%s",
            "everything processed is committed" if clean else "everything up to the last commit is done",
            f"; {dropped:,} records were dropped" if dropped else "",
        )
        return batch is None or (batch.reached and clean)


def asking(membership: Membership, nudged: Event, stopping: Callable[[], bool]) -> bool:
    """Query the group if `nudged` is set; return whether to stop."""
    if nudged.is_set():
        nudged.clear()
        membership.ask()
    return stopping()


def assemble(
    plan: Plan,
    settings: Settings,
    clients: Clients,
    stores: Local,
    clock: Clock,
    stats: Stats,
    environment: TaskEnvironment,
    watch: TopicWatcher | None = None,
    snapshots: Snapshots | None = None,
    source: DownloadSource | None = None,
    commits: CommitSnapshots | None = None,
    savepoints: Savepoints | None = None,
    ends: Mapping[TopicPartition, int] | None = None,
) -> tuple[Recovery, ProcessingLoop]:
    """Create recovery and the loop, neither of them started.

    Without `watch`, changes of topics are not detected. `snapshots` takes snapshots of running tasks, `source` provides
    those for tasks that are opened. `commits` takes those of commits, where stores have no changelogs. `savepoints`
    takes part in savepoints. Input topics are read to `ends`, as a batch does.
    """
    at_least_once = settings.guarantee == "at_least_once"
    group, topics = clients.membership, clients.topics
    recovery = Recovery(plan, group, topics, clients.reader, stores, clock, at_least_once, source, batch=settings.batch)
    parts = {subtopology.id: subtopology for subtopology in plan.subtopologies}
    kafka = KafkaIO(
        Intake(
            clients.consumer,
            settings.max_buffer_bytes - client_buffer(settings),
            clock,
            settings.misplaced_keys,
            ends or {},
        ),
        StreamsProducer(
            clients.producers,
            clients.membership,
            lambda task, store: parts[task.subtopology].changelogs.get(store),
            answer_seconds(settings),
            OutputTopics(plan, environment.role),
        ),
        clients.membership,
        watch,
    )
    reports = GroupReporter(clients.membership, recovery, stats, clock)
    has_calls = plan.topology.has_asynchronous_calls
    executor = TaskExecutor(clock, reports, settings.idle, settings.max_batch, has_calls=has_calls)
    purging = RepartitionPurger(topics.delete_before, clock, settings.purge_interval)
    savepoints = savepoints or NoSavepoints(clock)
    taking = commits or snapshots or NoSnapshots()
    housekeeping = Housekeeping(purging, taking, savepoints, environment, reports, stats, clock)
    running = RunningTasks(kafka.intake, executor, housekeeping, stats)
    manager = TaskManager(plan, kafka, recovery, running, stores, environment, stats, batch=settings.batch)
    secured = None if commits is None else SnapshotCommits(commits, stats, clock)
    parts_of_loop = kafka, manager, running, executor, housekeeping, environment.tables, savepoints.hold, secured
    loop = ProcessingLoop(settings, clock, stats, *parts_of_loop)
    return recovery, loop


def check_committed(settings: Settings, plan: Plan, clock: Clock, stopping: Callable[[], bool]) -> None:
    """Check that committed offsets, if there are any, name snapshots that fit the program.

    Raises ConfigError or TopologyError if they do not, and Fatal if the state of a savepoint is not complete or if
    Kafka does not respond within `connect_timeout`.
    """
    inputs = [key for task in plan.tasks() for key in plan.inputs(task)]
    began = clock.monotonic()
    while not stopping():
        try:
            found = committed_metadata(group_options(settings), settings.app_id, inputs, ANSWER_SECONDS)
            refuse_unfinished(settings.app_id, found.values())
            check_group(plan, found)
        except Retryable as failure:
            if clock.monotonic() - began > settings.connect_timeout:
                raise Fatal(f"the committed offsets cannot be read: {failure}") from failure
        else:
            return


def savepoints_of(
    service: SnapshotService, settings: Settings, membership: Membership, stores: TaskStores, clock: Clock
) -> Savepoints:
    """Return the part of the process in savepoints: none without a snapshot store."""
    if service.storage is None:
        return NoSavepoints(clock)
    return SavepointParticipant(
        service.storage,
        settings.app_id,
        settings.guarantee,
        settings.snapshots_keep,
        settings.snapshot_bandwidth,
        membership,
        stores.scratch,
        clock,
        service.uploading,
    )


def global_tables(
    topology: Topology, settings: Settings, topics: Topics, stores: TaskStores, clock: Clock, policy: ErrorPolicy
) -> GlobalTables:
    """Create the global tables of a program; reading them has not started."""
    nodes = topology.global_tables
    stores.keep_tables({node.name for node in nodes})
    memory = settings.cache_bytes // 4 // max(1, len(nodes))
    rows = [GlobalRows(node, stores.open_table(node.name, node.stores[0].spec.kind), policy, memory) for node in nodes]
    options = {**restore_options(settings, len(nodes)), "client.id": f"{settings.app_id}-tables"}
    reader = ChangelogReader(options, clock)
    return GlobalTables(rows, topics, reader, clock, settings.metadata_interval, settings.topic_timeout)


def membership_settings(plan: Plan, settings: Settings, process: str, stores: Local) -> MembershipSettings:
    return MembershipSettings(
        group=settings.app_id,
        parts=subtopology_infos(plan),
        options=group_options(settings),
        process=process,
        former=stores.former(),
        remember=stores.remember,
        instance_id=settings.member_instance_id,
        policy=AssignmentPolicy(
            standbys=settings.standbys,
            least_gain=settings.least_gain,
            acceptable_lag=settings.acceptable_lag,
            warming_bytes=settings.warming_bytes,
        ),
        rack=settings.rack or "",
        node=platform.node(),
        review_interval=settings.balance_interval,
        session_timeout=settings.session_timeout,
        heartbeat_interval=settings.heartbeat,
        rebalance_timeout=settings.rebalance_timeout,
        max_poll_interval=settings.max_poll_interval,
        transaction_timeout=settings.transaction_limit,
        hold=settings.commit_hold,
        transactions=settings.guarantee == "exactly_once",
    )


def leave_group(membership: Membership, settings: Settings, stores: Local) -> None:
    """Leave the group, and delete the identity that a restart would fence."""
    membership.leave(min(5.0, settings.stop_timeout / 1000))
    if settings.member_instance_id is None:
        stores.forget_former()


def answer_seconds(settings: Settings) -> float:
    """Return the timeout of a Kafka call on the main thread, which enforces `retry_timeout`."""
    return min(settings.transaction_limit, max(settings.retry_timeout, LEAST_ANSWER_MS)) / 1000


def producers(settings: Settings, fatal: Event | None = None) -> ProducerFactory:
    """Return the factory of producers. `fatal` is set when the program cannot continue."""
    options: Mapping[str, object] = producer_options(settings)

    def make(process: str) -> TransactionalProducer | PlainProducer:
        if settings.guarantee == "at_least_once":
            return PlainProducer(options)
        identity = transactional_id(settings.app_id, process)
        producer = TransactionalProducer(options, identity, fatal=fatal)
        try:
            producer.init(answer_seconds(settings))
        except BaseException:
            producer.close()
            raise
        return producer

    return make
