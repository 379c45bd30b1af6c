"""Binds a Faust application to the engine: its clients, tables, replies and leadership."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ..kafka.direct_sender import DirectSender
from .conductor import TaskConductor
from .replies import TaskReplies
from .requests import refuse_requests_of_events
from .router import TaskRouter
from .stream import TaskStream
from .stream_queue import StreamQueue
from .tasks import library
from .tasks.global_table import GlobalTableStore
from .tasks.tables import TaskTableManager, TaskTableStore, use_task_stores
from .tasks.work import Gate, TaskWork
from .transport import TaskTransport
from .whereabouts import Whereabouts

__all__ = ["bind"]


class Host(Protocol):
    """What an application asks of its host."""

    gate: Gate
    sensors: bool

    def failed(self, failure: BaseException) -> None: ...
    def works(self) -> list[TaskWork]: ...
    def leads(self) -> bool: ...


def bind(
    app: Any,
    host: Host,
    sender: DirectSender,
    whereabouts: Whereabouts,
    subscribed: Callable[[frozenset[str]], None],
    restored: asyncio.Event,
) -> dict[str, TaskTableStore]:
    """Bind an application, in the event loop that will run it; return the stores of its tables.

    `subscribed` is called with the topics that are read, `restored` is set when tables can be read.
    """
    loop = asyncio.get_running_loop()
    app.tidemill = host
    app.loop = loop
    app.in_transaction = False
    app._attachments.enabled = False
    app.conf.Stream = TaskStream
    app.conf.producer_threaded = False
    app.FlowControlQueue = partial(stream_queue, app)
    app.transport = app.producer_transport = TaskTransport(app, sender)
    app._consumer = app._producer = None
    declared = list(app.topics)
    conductor = TaskConductor(app, subscribed)
    for topic in declared:
        conductor.add(topic)
    app.topics = conductor
    for agent in app.agents.values():
        if agent.isolated_partitions:
            agent.stream = partial(conductor.isolated, agent.name, agent.stream)
    tables = TaskTableManager(app, restored, beacon=app.beacon)
    tables.data.update(app.tables.data)
    tables._changelogs.update(app.tables._changelogs)
    app.tables = tables
    app._reply_consumer = TaskReplies(app, sender.read, loop=loop, beacon=app.beacon)
    refuse_requests_of_events(app, host.failed)
    app._leader_assignor = Leadership(host.leads, loop=loop, beacon=app.beacon)
    app._fetcher = Nothing(loop=loop, beacon=app.beacon)
    app.router = TaskRouter(app, host.works, whereabouts)
    app.flow_control.resume()
    app.on_startup_finished = None
    host.sensors = any(type(sensor).__module__ != "faust.sensors.monitor" for sensor in app.sensors) or (
        app._monitor is not None and type(app._monitor).__module__ != "faust.sensors.monitor"
    )
    stores = {
        table.name: (GlobalTableStore if table.is_global else TaskTableStore)(table, host.works)
        for table in app.tables.values()
    }
    use_task_stores(app, stores, host.works)
    return stores


def stream_queue(app: Any, maxsize: int | None = None, *, clear_on_resume: bool = False) -> Any:
    """Return the queue of a channel or a stream.

    Its limit is for what the application puts into it. What tasks deliver does not wait: the engine limits that.
    """
    return StreamQueue(maxsize or 0, flow_control=app.flow_control)


class Nothing(library.Service):
    """A service that does nothing."""


class Leadership(library.Service):
    """Tells whether this process is the leader."""

    def __init__(self, leads: Callable[[], bool], **kwargs: Any) -> None:
        library.Service.__init__(self, **kwargs)
        self._leads = leads

    def is_leader(self) -> bool:
        """Return whether tasks for the leader run here."""
        return self._leads()
