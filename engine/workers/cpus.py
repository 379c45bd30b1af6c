"""The number of processors available to this process, by CPU affinity and container quota.

Quotas are read from the kernel's files: `cpu.max` under cgroup v2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` under v1,
of the process's own group and of every group above it
(https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files,
https://docs.kernel.org/scheduler/sched-bwc.html). A fraction of a processor counts as a whole one, as in the JVM.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["processors", "quota"]


def processors(root: Path = Path("/")) -> int:
    """Return the number of usable processors, at least 1. `root` contains `proc` and `sys`."""
    limit = quota(root)
    return max(1, min(allowed(), math.ceil(limit)) if limit is not None else allowed())


def allowed() -> int:
    """Return the number of processors that the kernel lets this process run on."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1  # also respects PYTHON_CPU_COUNT
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """Return the quota of this process's control groups in processors; None if there is none."""
    found = [limit for limit in quotas(root) if limit is not None]
    return min(found, default=None)


def quotas(root: Path) -> Iterator[float | None]:
    """Yield the limits of the control groups of this process, its own group first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for group in ancestors(mounted, path):
                yield limit_v2(group)
        elif "cpu" in controllers.split(","):
            hierarchy = next((it for it in (mounted / controllers, mounted / "cpu") if it.is_dir()), mounted)
            for group in ancestors(hierarchy, path):
                yield limit_v1(group)


def ancestors(mounted: Path, path: str) -> Iterator[Path]:
    """Yield the directory of a group and those above it.

    Inside a container, the mount point itself may be the group.
    """
    inner = PurePosixPath(path.lstrip("/"))
    for part in (inner, *inner.parents):
        if ".." not in part.parts:
            yield mounted / part


def limit_v2(group: Path) -> float | None:
    """Return the limit under v2: `200000 100000` is two processors, `max 100000` no limit."""
    words = read_words(group / "cpu.max")
    return ratio(words[0], words[1]) if len(words) == 2 else None


def limit_v1(group: Path) -> float | None:
    """Return the limit under v1, where a quota of -1 is no limit."""
    words = [*read_words(group / "cpu.cfs_quota_us"), *read_words(group / "cpu.cfs_period_us")]
    return ratio(words[0], words[1]) if len(words) == 2 else None


def read_words(file: Path) -> list[str]:
    """Return the words of a kernel file; none if it does not exist or cannot be read."""
    try:
        return file.read_text().split()
    except OSError:
        return []


def ratio(part: str, whole: str) -> float | None:
    """Return a share of time as a number of processors."""
    if not (part.isdigit() and whole.isdigit() and int(part) and int(whole)):
        return None
    return int(part) / int(whole)
