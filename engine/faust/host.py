"""Runs a Faust application on an event loop in a thread of its own.

The application is Faust's: its agents, streams, timers, tasks and web pages. Its Kafka clients, its tables' storage and
its group are those of the engine.

    start    bind the application to the engine, start its agents: now the topics are known that they read
    open     a task was opened: its events go to the agents from now on
    deliver  records for the agents
    harvest  stop the agents between two events, and take what they have done
    close    the task was closed or rolled back: what was not harvested is dropped
    stop     stop the application
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from ...state.cache import StateCache
from ..errors import Fatal, TidemillError
from ..event_loop import run_to_end
from ..kafka.direct_sender import DirectSender
from ..plan.internal_topics import changelog_topic
from ..threads import Thread
from .binding import bind
from .tasks import library
from .tasks.expiry import forget_windows, remember_windows
from .tasks.global_table import GlobalChangelogs, GlobalTableStore
from .tasks.harvest import Delivery, Harvest, StoredEvent
from .tasks.imports import FaustChangelog, TableImports
from .tasks.rows import FaustRows
from .tasks.store_names import table_store
from .tasks.work import Gate, TaskWork
from .whereabouts import Whereabouts

__all__ = ["FaustHost"]

LOG: Final = logging.getLogger("tidemill.faust")
STEP_SECONDS: Final = 0.1
STOP_SECONDS: Final = 20.0
START_SECONDS: Final = 60.0
ROWS: Final = 100_000
"""How many rows of a table a task keeps decoded without need."""


class FaustHost:
    """The thread in which a Faust application runs."""

    def __init__(self, app: Any, sender: DirectSender, restore: Mapping[str, Any]) -> None:
        """Create it for an application that has not been started.

        `restore` are the options of a consumer of committed records.
        """
        self.app = app
        self._restore = restore
        self._changelogs: dict[str, FaustChangelog] = {}
        self._globals: GlobalChangelogs | None = None
        self._whereabouts = Whereabouts(app.conf.id, sender, app.conf.topic_replication_factor or 1)
        self.gate = Gate()
        self.sensors = False
        """Whether the application has sensors of its own."""
        self._sender = sender
        self._works: list[TaskWork] = []
        self._stores: dict[str, Any] = {}
        self._topics: frozenset[str] = frozenset()
        self._subscribed = threading.Event()
        self._late: frozenset[str] = frozenset()
        """Topics that streams began to read after the start."""
        self._planned: frozenset[str] | None = None
        self._failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._restored = asyncio.Event()
        self._stop = asyncio.Event()
        self._thread = Thread("tidemill-faust", self._run)

    # The engine's thread

    def start(self) -> frozenset[str]:
        """Start the application; return the topics that its agents read."""
        self._thread.start()
        waited = 0.0
        while not self._subscribed.wait(STEP_SECONDS):
            self.check()
            waited += STEP_SECONDS
            if waited > START_SECONDS:
                raise Fatal(f"the agents of the Faust application have not started within {START_SECONDS:.0f} s")
        self._planned = self._topics
        self._changelogs = self._find_changelogs()
        self._globals = GlobalChangelogs(
            {
                changelog_topic(self.app.conf.id, table_store(name)): store
                for name, store in self._stores.items()
                if isinstance(store, GlobalTableStore)
            },
            self._sender.partitions_of,
            self._restore,
            self._loop.call_soon_threadsafe,
        )
        if self._stores and self.app.conf.web_enabled:
            self._whereabouts.start()
        return self._topics

    @property
    def ready(self) -> bool:
        """Whether agents may begin: the rows of global tables are there."""
        return self._globals is not None and self._globals.ready

    def check(self) -> None:
        """Raise Fatal if the application has ended."""
        self._thread.check()
        self._sender.check()
        if self._globals is not None:
            self._globals.check()
        if self._late:
            raise Fatal(
                f"the Faust application began to read {', '.join(sorted(self._late))} after its agents had started: "
                "declare streams in agents, before the first event, so that their topics are known at the start"
            )
        failure = self._failure or getattr(self.app, "_crash_reason", None)
        if isinstance(failure, TidemillError):
            raise failure
        if failure is not None:
            raise Fatal(f"the Faust application has crashed: {type(failure).__name__}: {failure}") from failure
        if not self._thread.alive:
            raise Fatal("the Faust application has ended")

    def changelog_of(self, table: str) -> str | None:
        """Return Faust's changelog topic of a table, None if there is none."""
        found = self._changelogs.get(table)
        return None if found is None else found.topic

    def imports(self, partition: int, caches: Mapping[str, StateCache[bytes, bytes]]) -> TableImports:
        """Return what a task has to take over from Faust's changelogs before it is opened."""
        return TableImports(partition, self._changelogs, caches, self._restore)

    def open(
        self, partition: int, caches: Mapping[str, StateCache[bytes, bytes]], first: int, kept: dict[int, StoredEvent]
    ) -> TaskWork:
        """Open a task with the caches of its tables, and the events that wait in its store."""
        tables = {
            name: FaustRows(caches[name].committed(), store.encoded_value, store.decoded_value, ROWS)
            for name, store in self._stores.items()
        }
        work = TaskWork(partition, tables, self.gate, first)
        self._call(self._open(work, kept))
        return work

    def deliver(self, work: TaskWork, delivery: Delivery) -> None:
        """Give records to the agents."""
        work.drained.clear()
        self._loop.call_soon_threadsafe(self.app.topics.deliver, work, delivery)

    def harvest(self, seconds: float) -> bool:
        """Take what agents have done in all tasks; return False if that takes over `seconds`."""
        self.gate.shut = True
        found: dict[TaskWork, Harvest] | None = self._call(self._harvest(seconds))
        self.check()  # an event in which something was refused has failed: it must not be committed
        for work, harvest in (found or {}).items():
            work.harvests.append(harvest)
            work.fresh = True
        return found is not None

    def close(self, work: TaskWork) -> None:
        """Close a task."""
        if self._thread.alive:
            self._call(self._close(work))

    def stop(self) -> None:
        """Stop the application."""
        if self._globals is not None:
            self._globals.close()
        if self._thread.alive:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(STOP_SECONDS)

    def _find_changelogs(self) -> dict[str, FaustChangelog]:
        names = {store.table._changelog_topic_name(): name for name, store in self._stores.items()}
        found = sorted(names.keys() & self._sender.topics())
        return {
            names[topic]: FaustChangelog(topic, self._sender.partitions_of(topic), self._stores[names[topic]])
            for topic in found
        }

    def _call(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while True:
            try:
                return future.result(STEP_SECONDS)
            except TimeoutError:
                if future.done():
                    raise
                self.check()

    # The event loop's thread

    def failed(self, failure: BaseException) -> None:
        """Keep a failure that ends the process."""
        self._failure = self._failure or failure

    def works(self) -> list[TaskWork]:
        """Return the open tasks."""
        return list(self._works)

    def leads(self) -> bool:
        """Return whether this process is the leader: it has the task of partition 0."""
        return any(work.partition == 0 for work in self._works)

    def _run(self) -> None:
        run_to_end(self._loop, self._main())

    async def _main(self) -> None:
        app = self.app
        self._stores = bind(app, self, self._sender, self._whereabouts, self._on_subscribed, self._restored)
        starting = asyncio.ensure_future(app.start())
        starting.add_done_callback(self._started)
        await self._stop.wait()
        try:
            await asyncio.wait_for(app.stop(), STOP_SECONDS)
        except Exception as failure:
            LOG.warning("the Faust application did not stop cleanly: %r", failure)

    def _started(self, starting: asyncio.Future[Any]) -> None:
        if not starting.cancelled() and (failure := starting.exception()) is not None:
            self.failed(failure)

    def _on_subscribed(self, topics: frozenset[str]) -> None:
        self._topics = topics
        if self._planned is not None:
            self._late = topics - self._planned
        self._subscribed.set()

    async def _open(self, work: TaskWork, kept: dict[int, StoredEvent]) -> None:
        self._works.append(work)
        for table in self.app.tables.values():
            if table._should_expire_keys():
                remember_windows(table, work)
        await self._isolated("on_partitions_assigned", work)
        for number, event in kept.items():
            self.app.topics.deliver_stored(work, number, event)
        self._restored.set()
        self._assigned()
        self._whereabouts.tell([work.partition], self.app.conf.canonical_url)

    async def _close(self, work: TaskWork) -> None:
        work.close()
        if work in self._works:
            self._works.remove(work)
            for table in self.app.tables.values():
                forget_windows(table, work)
            self._assigned()
            await self._isolated("on_partitions_revoked", work)

    async def _isolated(self, call: str, work: TaskWork) -> None:
        """Tell agents with a stream for each partition that a task has come or gone."""
        for agent in self.app.agents.values():
            if agent.isolated_partitions:
                await getattr(agent, call)({library.TP(topic, work.partition) for topic in agent.channel.topics})

    async def _harvest(self, seconds: float) -> dict[TaskWork, Harvest] | None:
        try:
            await self.app.topics.idle()
            if not await self.gate.quiet(seconds):
                return None
            return {work: work.harvest() for work in self._works}
        finally:
            self.gate.open()

    def _assigned(self) -> None:
        numbers = {work.partition for work in self._works}
        self.app.consumer.assigned = frozenset(
            library.TP(topic, number) for topic in self._topics for number in numbers
        )
