"""Deletes the rows of windows that have expired.

Faust remembers in memory which windows a partition has. Here this is made again of the rows when a task is opened, so
that windows of an earlier process expire too. A deletion, and what `on_window_close` sends, go into one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop
from typing import Any
from weakref import ref

from ...clock import SYSTEM
from . import library
from .work import EventMessage, TaskWork

__all__ = ["delete_expired", "forget_windows", "remember_windows"]


def remember_windows(table: Any, work: TaskWork) -> None:
    """Note the windows of the rows of a task that was opened."""
    forget_windows(table, work)
    for key in table._data.keys_of(work):
        table._maybe_set_key_ttl(key, work.partition)


def forget_windows(table: Any, work: TaskWork) -> None:
    """Forget the windows of a task."""
    for end in table._partition_timestamps.pop(work.partition, ()):
        table._partition_timestamp_keys.pop((work.partition, end), None)


async def delete_expired(table: Any, works: Callable[[], list[TaskWork]]) -> None:
    """Delete the rows of expired windows, and call `on_window_close` for each."""
    for work in works():
        ends: list[float] = table._partition_timestamps[work.partition]
        while not work.closed and ends and table.window.stale(ends[0], SYSTEM.now() / 1000):
            end = heappop(ends)
            for key in table._partition_timestamp_keys.pop((work.partition, end), ()):
                await work.gate.passed()
                if not work.closed:
                    await _delete(table, work, key)


async def _delete(table: Any, work: TaskWork, key: Any) -> None:
    tp = library.TP(table.changelog_topic_name, work.partition)
    message = EventMessage(work, 0, tp, -1, SYSTEM.now(), None, None, None, made=True)
    event = table.app.create_event(None, None, None, message)
    before = library.current_event_variable.set(ref(event))
    try:
        if key in table._data:
            value = table._data[key]
            del table._data[key]
            await table.on_window_close(key, value)
    finally:
        library.current_event_variable.reset(before)
        message.ack(None)
