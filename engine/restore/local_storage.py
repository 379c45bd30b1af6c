"""Interfaces of the local storage: the stores of tasks, and the identity of the process.

`stores.py` implements them. Each component depends only on the interface that it uses.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ...state.store import Store
from ..errors import StateCorrupt
from ..group.membership import Former
from ..ids import TaskId
from ..plan.plan import SubTopology

__all__ = ["Local", "ProcessIdentity", "Stores", "open_or_wipe"]

LOG = logging.getLogger("tidemill.recovery")


class Stores(Protocol):
    """An object that opens and wipes the stores of tasks."""

    def open(self, task: TaskId, subtopology: SubTopology) -> Mapping[str, Store]: ...

    def wipe(self, *tasks: TaskId | str) -> None: ...

    def install(self, task: TaskId, content: Path) -> None: ...

    def files(self, task: TaskId) -> Path: ...

    def scratch(self, name: str) -> Path: ...


def open_or_wipe(stores: Stores, task: TaskId, subtopology: SubTopology) -> Mapping[str, Store]:
    """Open the stores of a task, wiping corrupt ones: all their data is elsewhere too."""
    try:
        return stores.open(task, subtopology)
    except StateCorrupt as failure:
        origin = "changelog" if subtopology.changelogs else "snapshot"
        LOG.warning("%s; wiping it and restoring it from its %s", failure, origin)
        stores.wipe(task)
        return stores.open(task, subtopology)


class ProcessIdentity(Protocol):
    """Storage for the identity of this process in the group, and for the state of its tasks.

    With the identity, a restarted process can fence and remove its predecessor.
    """

    def remember(self, member_id: str, process: str) -> None: ...

    def wipe(self, *tasks: TaskId | str) -> None: ...


class Local(Stores, ProcessIdentity, Protocol):
    """The complete local storage."""

    def former(self) -> Former | None: ...

    def forget_former(self) -> None: ...
