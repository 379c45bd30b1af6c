"""The memory of a process with much state or many stores stays within `state_memory` and a fixed rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REST = 250
"""MiB beside `state_memory`: indexes of files, first blocks of write buffers, and the allocator's slack."""
GIB = int(os.environ.get("TIDEMILL_TEST_STATE_GIB", "1"))
"""The size of the large state: 1 by default, as 10 takes minutes."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("stores", "mib", "budget"), [pytest.param(400, 200, 256, id="many"), pytest.param(4, GIB << 10, 64, id="large")]
)
def test_state_of_any_size_takes_bounded_memory(tmp_path: Path, stores: int, mib: int, budget: int) -> None:
    script = Path(__file__).with_name("measured_stores.py")
    arguments = [sys.executable, script, tmp_path, *map(str, (stores, mib, budget))]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*.sst")) >> 20
    assert on_disk > mib * 0.8
    assert int(found.stdout) < budget + REST
