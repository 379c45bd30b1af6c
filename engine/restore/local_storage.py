"""What a process keeps on its disk, as its parts see it: the stores of its tasks, and who it is in the group.

`stores.py` has it; the parts only name what they use.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from ...state.store import Store
from ..errors import StateCorrupt
from ..group.membership import Former
from ..ids import TaskId
from ..plan.plan import SubTopology

__all__ = ["Identity", "Local", "Stores", "open_or_wipe"]

LOG = logging.getLogger("tidemill.recovery")


class Stores(Protocol):
    """Opens and wipes the stores of tasks."""

    def open(self, task: TaskId, part: SubTopology) -> Mapping[str, Store]: ...

    def wipe(self, *tasks: TaskId | str) -> None: ...


def open_or_wipe(stores: Stores, task: TaskId, part: SubTopology) -> Mapping[str, Store]:
    """The stores of a task. Those that cannot be used are removed: what was in them is in the changelogs too."""
    try:
        return stores.open(task, part)
    except StateCorrupt as failure:
        LOG.warning("%s; wiping it and restoring it from its changelog", failure)
        stores.wipe(task)
        return stores.open(task, part)


class Identity(Protocol):
    """Keeps who this process is in the group, so that its restart can end what it left, and the state of its tasks."""

    def remember(self, member_id: str, process: str) -> None: ...

    def wipe(self, *tasks: TaskId | str) -> None: ...


class Local(Stores, Identity, Protocol):
    """All of it."""

    def former(self) -> Former | None: ...

    def forget_former(self) -> None: ...
