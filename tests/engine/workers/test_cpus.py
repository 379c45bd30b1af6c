"""How many processors a process may use, from made-up files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidemill.engine.workers.cpus import processors, quota


def kernel(root: Path, **files: str) -> Path:
    """A tree with these files; `__` in a name stands for `/`, and the group of the process is /pods/app."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def v2(root: Path, group: str, limit: str) -> None:
    path = root / "sys/fs/cgroup" / group / "cpu.max"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(limit)


def v1(root: Path, hierarchy: str, group: str, limit: int, period: int = 100_000) -> None:
    path = root / "sys/fs/cgroup" / hierarchy / group
    path.mkdir(parents=True, exist_ok=True)
    (path / "cpu.cfs_quota_us").write_text(f"{limit}\n")
    (path / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_a_quota_of_version_2(tmp_path: Path) -> None:
    kernel(tmp_path, proc__self__cgroup="0::/pods/app\n")
    assert quota(tmp_path) is None, "no file at all"
    v2(tmp_path, "pods/app", "max 100000\n")
    assert quota(tmp_path) is None
    v2(tmp_path, "pods", "150000 100000\n")
    assert quota(tmp_path) == 1.5, "the group above it limits it too"
    v2(tmp_path, "pods/app", "50000 100000\n")
    assert quota(tmp_path) == 0.5


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    kernel(tmp_path, proc__self__cgroup="0::/\n")
    v2(tmp_path, "", "200000 100000\n")
    assert quota(tmp_path) == 2


def test_a_container_with_the_path_of_its_host(tmp_path: Path) -> None:
    """Under version 1 the path is the host's, and the mount point is the container's own group."""
    kernel(tmp_path, proc__self__cgroup="4:cpu,cpuacct:/docker/0123\n3:memory:/docker/0123\n")
    v1(tmp_path, "cpu,cpuacct", "", 250_000)
    assert quota(tmp_path) == 2.5


@pytest.mark.parametrize("hierarchy", ["cpu,cpuacct", "cpu"])
def test_a_quota_of_version_1(tmp_path: Path, hierarchy: str) -> None:
    kernel(tmp_path, proc__self__cgroup="4:cpu,cpuacct:/pods/app\n0::/\n")
    v1(tmp_path, hierarchy, "pods/app", -1)
    assert quota(tmp_path) is None
    v1(tmp_path, hierarchy, "pods", 300_000)
    assert quota(tmp_path) == 3


def test_a_path_above_the_mount_point_is_not_followed(tmp_path: Path) -> None:
    kernel(tmp_path, proc__self__cgroup="0::/../other\n", sys__fs__other__cpu_max="1 1")
    v2(tmp_path, "", "400000 100000\n")
    assert quota(tmp_path) == 4


def test_processors_are_whole_and_no_more_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.engine.workers.cpus.allowed", lambda: 4)
    assert processors(tmp_path) == 4, "without control groups"
    kernel(tmp_path, proc__self__cgroup="0::/app\n")
    for limit, expected in (("max 100000", 4), ("150000 100000", 2), ("10000 100000", 1), ("800000 100000", 4)):
        v2(tmp_path, "app", limit)
        assert processors(tmp_path) == expected


def test_of_this_machine() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)
