"""How many processors this process may use: what the kernel lets it run on, and what its container is given.

Quotas are read where the kernel shows them: `cpu.max` under cgroup v2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` under
v1, of the process's own group and of every group above it
(https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files,
https://docs.kernel.org/scheduler/sched-bwc.html). A part of a processor counts as a whole one, as the JVM has it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["processors", "quota"]


def processors(root: Path = Path("/")) -> int:
    """Processors this process may use, at least 1. `root` is where `proc` and `sys` are."""
    limit = quota(root)
    return max(1, min(allowed(), math.ceil(limit)) if limit is not None else allowed())


def allowed() -> int:
    """Processors that the kernel lets this process run on."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1  # heeds PYTHON_CPU_COUNT too
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that control groups leave this process; None when nothing limits it."""
    found = [limit for limit in quotas(root) if limit is not None]
    return min(found, default=None)


def quotas(root: Path) -> Iterator[float | None]:
    """The limit of each control group that this process is in, itself first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for group in upwards(mounted, path):
                yield limit_v2(group)
        elif "cpu" in controllers.split(","):
            hierarchy = next((it for it in (mounted / controllers, mounted / "cpu") if it.is_dir()), mounted)
            for group in upwards(hierarchy, path):
                yield limit_v1(group)


def upwards(mounted: Path, path: str) -> Iterator[Path]:
    """A group's directory and those above it. Seen from in a container, the group may be the mount point itself."""
    inner = PurePosixPath(path.lstrip("/"))
    for part in (inner, *inner.parents):
        if ".." not in part.parts:
            yield mounted / part


def limit_v2(group: Path) -> float | None:
    """`200000 100000` is two processors, `max 100000` no limit."""
    words = words_of(group / "cpu.max")
    return ratio(words[0], words[1]) if len(words) == 2 else None


def limit_v1(group: Path) -> float | None:
    """A quota of -1 is no limit."""
    words = [*words_of(group / "cpu.cfs_quota_us"), *words_of(group / "cpu.cfs_period_us")]
    return ratio(words[0], words[1]) if len(words) == 2 else None


def words_of(file: Path) -> list[str]:
    """What a file of the kernel says; nothing when it is not there or not for us."""
    try:
        return file.read_text().split()
    except OSError:
        return []


def ratio(part: str, whole: str) -> float | None:
    """A share of time as a number of processors."""
    if not (part.isdigit() and whole.isdigit() and int(part) and int(whole)):
        return None
    return int(part) / int(whole)
