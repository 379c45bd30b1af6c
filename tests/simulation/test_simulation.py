"""Run schedules of random faults: whatever happens to processes and network, the results are correct.

A failure shows its seed. `make simulate SEED=...` replays it and prints everything that happens; docs/simulation.md
explains how to read the output.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.examples import seeds as some_seeds

from .driver import run

FEW = 50
BLOCKS = 11
BLOCK = 200


@pytest.mark.parametrize("seed", some_seeds(FEW, fast=10))
def test_a_schedule(seed: int) -> None:
    run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, FEW + BLOCKS * BLOCK, BLOCK))
def test_many_schedules(first: int) -> None:
    for seed in range(first, first + BLOCK):
        run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_seed_gives_the_same_trace_in_every_process(seeds: int) -> None:
    """String hashes differ between processes, and with them the iteration order of sets."""
    program = f"from tests.simulation.test_simulation import digest; print(digest({seeds}))"
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest(seeds) == digest(seeds) == other.stdout.strip()


def digest(seeds: int) -> str:
    """Return a hash of everything that happens in the first schedules."""
    traces = [run(seed).trace for seed in range(seeds)]
    assert sum(map(len, traces)) > 100 * seeds
    return hashlib.sha256(repr(traces).encode()).hexdigest()
