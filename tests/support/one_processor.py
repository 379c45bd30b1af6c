"""A driver of a program with one processor, and helpers for its tests."""

from __future__ import annotations

from typing import Any

import tidemill as tm

__all__ = ["driver", "read", "rebuild"]


def driver(processor: Any, *, on_error: Any = tm.fail, now: int = 0) -> Any:
    app = tm.App("test", on_error=on_error)
    app.stream("a", key=tm.utf8, value=tm.json).process(processor).named("p").to("out")
    return tm.testing.TopologyDriver(app, now=now)


def read(running: Any) -> list[Any]:
    return [record.value for record in running.read("out")]


def rebuild(running: Any) -> None:
    """Rebuild the operators as after a restart: only the stores keep their contents."""
    for task in running._tasks.values():
        for key in task.discard():
            task.caught_up(key, True)
