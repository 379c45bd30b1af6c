"""Takes workers that are gone out of the group, so that others have their tasks at once.

Who a worker was in the group stands in its state directory. Without this a member that was killed would be missed only
when its peers see its connection close, and where they cannot, when its session times out. It is done in a thread,
since Kafka may not answer, and it is never wrong: a member that is taken out twice, or has left, is no longer there.
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

__all__ = ["Departures"]

LOG: Final = logging.getLogger("tidemill.supervisor")


class Departures:
    """For the workers of one supervisor."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        """`wake` ends the supervisor's wait when one is done."""
        self._settings = settings
        self._wake = wake
        self._done = threading.Event()
        self._options = group_options(settings)
        self._thread = ThreadPoolExecutor(1, "tidemill-departures")

    def remove(self, worker: int) -> None:
        """Takes the worker's last member out of the group. Only for one whose process is gone. Returns at once."""
        mine = replace(self._settings, worker=worker)
        former = read_process(mine.worker_dir)  # now: the next process writes itself down there
        if former is not None and former.member_id:
            self._thread.submit(self._remove, worker, (former.member_id, mine.member_instance_id))

    def done(self) -> bool:
        """Whether any was taken out since the last call: the others should ask the group for what is new."""
        done = self._done.is_set()
        self._done.clear()
        return done

    def close(self) -> None:
        """Waits for what is being done."""
        self._thread.shutdown(cancel_futures=True)

    def _remove(self, worker: int, member: Leaver) -> None:
        try:
            if remove_members(self._options, self._settings.app_id, [member]):
                LOG.info("worker %d: taken out of the group; others have its tasks", worker)
                self._done.set()
                self._wake()
        except TidemillError as failure:
            LOG.warning(
                "worker %d: %s; others have its tasks after its session time-out, or it has them again", worker, failure
            )
