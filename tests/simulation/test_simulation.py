"""Schedules of trouble from their seeds: whatever happens to processes and network, the results are right.

A failure names its seed. `make simulate SEED=...` runs it again and prints everything that happens in it; how to read
that is in docs/simulation.md.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .driver import run

BLOCKS = 10
BLOCK = 200


@pytest.mark.parametrize("seed", range(100))
def test_a_schedule(seed: int) -> None:
    run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 100 + BLOCKS * BLOCK, BLOCK))
def test_many_schedules(first: int) -> None:
    for seed in range(first, first + BLOCK):
        run(seed)


def test_the_same_seed_leads_to_the_same_trace_in_another_process_too() -> None:
    """The hashes of strings differ there, and with them the order in which sets of names are walked."""
    program = "from tests.simulation.test_simulation import digest; print(digest())"
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest() == digest() == other.stdout.strip()


def digest() -> str:
    """Stands for everything that happens in some schedules."""
    traces = [run(seed).trace for seed in range(20)]
    assert sum(map(len, traces)) > 2000
    return hashlib.sha256(repr(traces).encode()).hexdigest()
