"""CPU time and memory of a process tree and of the machine.

CPU times of all processes of the tree are those of the operating system, exact to its clock tick regardless of other
load. The CPU time of all other processes on the machine shows how reliable the throughput of a run is.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

__all__ = ["Machine", "Tree", "listener_pid"]


class Tree:
    """A process and all its descendants, including the CPU seconds of those that have ended."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._cpu: dict[int, float] = {}
        self.peak_rss = 0

    def cpu(self) -> float:
        """Return user and system CPU seconds so far, and update the peak resident memory."""
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
    """CPU times of the machine and of the benchmark process."""

    @staticmethod
    def busy() -> float:
        """Return the busy CPU seconds of the whole machine."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # guest time is already in user time
        return sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)

    @staticmethod
    def own() -> float:
        """Return the CPU seconds of the benchmark process."""
        times = os.times()
        return times.user + times.system


def listener_pid(address: str) -> int | None:
    """Return the id of the local process that listens on the port, None if it is not visible."""
    port = int(address.split(",", maxsplit=1)[0].rsplit(":", 1)[1])
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return connection.pid
    return None
