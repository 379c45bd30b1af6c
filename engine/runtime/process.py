"""Puts the parts of a running process together and takes them apart again.

Order in: state directory, Kafka, topics, group, recovery, loop. Order out: last commit, tasks, group, directory. What
each part does is its own business; that all of them are closed whatever happens is this file's.
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

from ...operators.graph.calls import Calls
from ...operators.graph.topology import Topology
from ...operators.policy import ErrorPolicy
from ..assignment.assignment import Policy
from ..clock import Clock
from ..config.settings import Settings
from ..group.membership import Membership, MembershipSettings
from ..group.metadata.subtopology_info import parts_of
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
from ..restore.global_rows import GlobalRows
from ..restore.global_tables import GlobalTables, wait_until_ready
from ..restore.local_storage import Local
from ..restore.recovery import Recovery
from ..restore.stores import TaskStores
from ..serve.stats import Stats
from ..signals import StopSignals
from ..topics.startup import prepare
from ..topics.watcher import Watch
from .async_calls import EventLoopCalls
from .garbage_collection import collected_rarely
from .intake import Intake
from .loop import Loop
from .state_lock import claimed
from .writer import ProducerFactory, Writer

__all__ = ["Clients", "assemble", "leave", "membership_settings", "producers", "run"]

LOG = logging.getLogger("tidemill")
Key = tuple[str, int]
LEAST_ANSWER_MS = 5_000


@dataclass(frozen=True)
class Clients:
    """What a process reaches Kafka with."""

    topics: Topics
    membership: Membership
    consumer: InputConsumer
    reader: ChangelogReader
    producers: ProducerFactory


def run(
    topology: Topology,
    settings: Settings,
    policy: ErrorPolicy,
    stats: Stats,
    clock: Clock,
    stopping: StopSignals,
    nudged: Event | None = None,
) -> None:
    """Runs a program as one process until `stopping` says so. Raises what made it impossible to go on.

    `nudged` is set when somebody knows that the group has something new to say.
    """
    check_own_options(settings.librdkafka)
    with ExitStack() as closing:
        stores = claimed(lambda: TaskStores(settings), settings.stop_timeout, clock, stopping)
        closing.enter_context(stores)
        stopping.once_asked(stores.stopping)
        topics = Topics(admin_options(settings))
        partitioned, plan = prepare(settings.app_id, topology, settings, topics, clock, stopping)
        for step, repartition in unaligned(topology):
            LOG.info(
                "step %r drops what is late, and what is late behind the repartition %r depends on how far the "
                "processes are apart that write it: give its sources watermark=tm.bounded(...) if there are several",
                step,
                repartition,
            )
        tables = global_tables(topology, settings, topics, stores, clock, policy)
        closing.callback(tables.close)
        tables.start()
        if not wait_until_ready(tables, clock, stopping, stats):
            return
        process = uuid.uuid4().hex
        membership = Membership(membership_settings(plan, settings, process, stores))
        closing.callback(membership.close)
        closing.callback(leave, membership, settings, stores)
        watch = Watch(partitioned, plan, topics, settings, clock)
        clients = Clients(
            topics,
            membership,
            InputConsumer(consumer_options(settings, sum(len(part.inputs) * part.partitions for part in plan.parts))),
            ChangelogReader(restore_options(settings, len(plan.internal))),
            producers(settings, watch.hopeless),
        )
        calls = EventLoopCalls()
        closing.callback(calls.close)
        recovery, loop = assemble(plan, settings, clients, stores, clock, stats, policy, calls, watch, tables)
        closing.callback(recovery.close)
        closing.callback(watch.close)
        closing.enter_context(collected_rarely())
        membership.start()
        recovery.start()
        watch.start()
        LOG.info("application %s: joining the group at %s", settings.app_id, settings.broker)
        clean = loop.run(stopping if nudged is None else partial(asking, membership, nudged, stopping))
        dropped = stats.all_dropped()
        LOG.info(
            "stopped: %s%s",
            "everything processed is committed" if clean else "everything up to the last commit is done",
            f"; {dropped:,} records were dropped" if dropped else "",
        )


def asking(membership: Membership, nudged: Event, stopping: Callable[[], bool]) -> bool:
    """Has the membership ask the group when that was called for. Whether to stop."""
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
    policy: ErrorPolicy,
    calls: Calls,
    watch: Watch | None = None,
    tables: GlobalTables | None = None,
) -> tuple[Recovery, Loop]:
    """The parts that do the work, neither of them started. Without a `watch` the topics stay as they are; `tables` are
    the global ones."""
    at_least_once = settings.guarantee == "at_least_once"
    recovery = Recovery(plan, clients.membership, clients.topics, clients.reader, stores, clock, at_least_once)
    parts = {part.id: part for part in plan.parts}
    writer = Writer(
        clients.producers,
        clients.membership,
        lambda task, store: parts[task.subtopology].changelogs.get(store),
        answer_seconds(settings),
    )
    loop = Loop(
        plan,
        settings,
        Intake(clients.consumer, settings.max_buffer_bytes - client_buffer(settings), clock, settings.misplaced_keys),
        writer,
        clients.membership,
        recovery,
        stores,
        clients.topics.delete_before,
        clock,
        stats,
        policy,
        calls,
        tables or GlobalTables((), clients.topics, clients.reader, clock, 0, 0),
        watch,
    )
    return recovery, loop


def global_tables(
    topology: Topology, settings: Settings, topics: Topics, stores: TaskStores, clock: Clock, policy: ErrorPolicy
) -> GlobalTables:
    """The global tables of a program, none of them read yet."""
    nodes = topology.global_tables
    stores.keep_tables({node.name for node in nodes})
    memory = settings.cache_bytes // 4 // max(1, len(nodes))
    rows = [GlobalRows(node, stores.open_table(node.name, node.stores[0].spec.kind), policy, memory) for node in nodes]
    reader = ChangelogReader({**restore_options(settings, len(nodes)), "client.id": f"{settings.app_id}-tables"})
    return GlobalTables(rows, topics, reader, clock, settings.metadata_interval, settings.topic_timeout)


def membership_settings(plan: Plan, settings: Settings, process: str, stores: Local) -> MembershipSettings:
    return MembershipSettings(
        group=settings.app_id,
        parts=parts_of(plan),
        options=group_options(settings),
        process=process,
        former=stores.former(),
        remember=stores.remember,
        instance_id=settings.member_instance_id,
        policy=Policy(
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
        transaction_timeout=settings.transaction_timeout,
        hold=settings.commit_hold,
        transactions=settings.guarantee == "exactly_once",
    )


def leave(membership: Membership, settings: Settings, stores: Local) -> None:
    """Leaves the group; a member that has left is nobody's former self."""
    membership.leave(min(5.0, settings.stop_timeout / 1000))
    if settings.member_instance_id is None:
        stores.forget_former()


def answer_seconds(settings: Settings) -> float:
    """How long the main thread waits for an answer of Kafka at a time: `retry_timeout` is kept by nobody else."""
    return min(settings.transaction_timeout, max(settings.retry_timeout, LEAST_ANSWER_MS)) / 1000


def producers(settings: Settings, hopeless: Event | None = None) -> ProducerFactory:
    """Makes the producer of an incarnation. `hopeless` is set when the program cannot go on."""
    options: Mapping[str, object] = producer_options(settings)

    def make(process: str) -> TransactionalProducer | PlainProducer:
        if settings.guarantee == "at_least_once":
            return PlainProducer(options)
        identity = transactional_id(settings.app_id, process)
        producer = TransactionalProducer(options, identity, hopeless=hopeless)
        try:
            producer.init(answer_seconds(settings))
        except BaseException:
            producer.close()
            raise
        return producer

    return make
