"""The stores of tasks, opened in the state directory of this process."""

from __future__ import annotations

from collections.abc import Mapping

from ..state.directory import StateDirectory
from ..state.memory import MemoryStore
from ..state.rocks import RocksMemory, RocksStore
from ..state.store import Corrupt, StateError, Store
from .errors import StateCorrupt, StateUnusable
from .ids import TaskId
from .plan import SubTopology

__all__ = ["TaskStores"]
