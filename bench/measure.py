"""Watches a process tree and says what it cost.

CPU time comes from the operating system's own accounts of every process of the tree, so it is exact to its clock
tick whatever else runs on the machine. `Others` is what everything outside the bench used meanwhile: it says how
far the throughput of a run can be trusted.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

__all__ = ["Machine", "Tree", "listener_pid"]


class Tree:
    """A process and all its descendants. CPU seconds never go back, even when a descendant ends."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._cpu: dict[int, float] = {}
        self.peak_rss = 0

    def cpu(self) -> float:
        """CPU seconds so far, user and system. Also keeps the peak of the resident memory."""
        rss = 0
        with suppress(psutil.NoSuchProcess):
            for process in (self._root, *self._root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess), process.oneshot():
                    times = process.cpu_times()
                    self._cpu[process.pid] = times.user + times.system
                    rss += process.memory_info().rss
        self.peak_rss = max(self.peak_rss, rss)
        return sum(self._cpu.values())


class Machine:
    """Busy CPU seconds of the whole machine."""

    @staticmethod
    def busy() -> float:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # guest time is already in user time
        return sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)

    @staticmethod
    def own() -> float:
        """CPU seconds of the bench itself."""
        times = os.times()
        return times.user + times.system


def listener_pid(address: str) -> int | None:
    """The local process that listens on this host:port, if it is local and may be seen."""
    port = int(address.split(",", maxsplit=1)[0].rsplit(":", 1)[1])
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return connection.pid
    return None
