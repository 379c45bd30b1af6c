"""Removes dead workers from the group, so that their tasks are reassigned at once.

The identity of a worker in the group is in its state directory. Without the removal, the death of a member would be
detected only when its connections to other members close or, if these cannot detect it, when its session times out.
Removals run in a separate thread, since Kafka may not respond. They are always safe: removing a member that has already
left, or was removed, has no effect.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from ...state.directory import read_process
from ..config.settings import Settings
from ..errors import TidemillError
from ..group.removal import Leaver, remove_members
from ..kafka.options import group_options

__all__ = ["WorkerRemovals"]

LOG: Final = logging.getLogger("tidemill.supervisor")


class WorkerRemovals:
    """Removes the workers of one supervisor from the group."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        """Create it; `wake` is called after each removal, to end the supervisor's wait."""
        self._settings = settings
        self._wake = wake
        self._done = threading.Event()
        self._options = group_options(settings)
        self._thread = ThreadPoolExecutor(1, "tidemill-removals")

    def remove(self, worker: int) -> None:
        """Start removing the last member of a worker from the group.

        The process of the worker must have ended.
        """
        mine = replace(self._settings, worker=worker)
        former = read_process(mine.worker_dir)  # read now: the next process overwrites it
        if former is not None and former.member_id:
            self._thread.submit(self._remove, worker, (former.member_id, mine.member_instance_id))

    def done(self) -> bool:
        """Return whether any member was removed since the last call.

        The remaining workers should query the group then.
        """
        done = self._done.is_set()
        self._done.clear()
        return done

    def close(self) -> None:
        """Wait for the removal in progress."""
        self._thread.shutdown(cancel_futures=True)

    def _remove(self, worker: int, member: Leaver) -> None:
        try:
            if remove_members(self._options, self._settings.app_id, [member]):
                LOG.info("worker %d: removed from the group; its tasks are reassigned", worker)
                self._done.set()
                self._wake()
        except TidemillError as failure:
            LOG.warning(
                "worker %d: %s; its tasks are reassigned when its session times out, or when it has restarted",
                worker,
                failure,
            )
