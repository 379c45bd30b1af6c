"""What a process keeps on its disk, as its parts see it: the stores of its tasks, and who it is in the group.

`stores.py` has it; the parts only name what they use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..state.store import Store
from .ids import TaskId
from .kafka.membership import Former
from .plan import SubTopology

__all__ = ["Identity", "Local", "Stores"]


class Stores(Protocol):
    """Opens and wipes the stores of tasks."""

    def open(self, task: TaskId, part: SubTopology) -> Mapping[str, Store]: ...

    def wipe(self, *tasks: TaskId | str) -> None: ...


class Identity(Protocol):
    """Keeps who this process is in the group, so that its restart can end what it left, and the state of its tasks."""

    def remember(self, member_id: str, process: str) -> None: ...

    def wipe(self, *tasks: TaskId | str) -> None: ...


class Local(Stores, Identity, Protocol):
    """All of it."""

    def former(self) -> Former | None: ...

    def forget_former(self) -> None: ...
