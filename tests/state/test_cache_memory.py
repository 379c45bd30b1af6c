"""Tests that the budget of a cache bounds its memory, as measured by the operating system."""

import subprocess
import sys
from pathlib import Path

import pytest

BUDGET = 24 << 20
SLOW = (
    *("12 bytes in 1000 stores", "20 kB written", "20 kB read", "documents written", "documents read"),
    *("12 bytes written in windows", "20 kB written in windows", "documents written in windows"),
    *("documents written in one window", "documents read in windows"),
)
CASES = ["12 bytes written", *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_budget_holds_within_30_percent(case):
    program = Path(__file__).with_name("measured.py")
    command = [sys.executable, str(program), case, str(BUDGET)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    grown = float(run.stdout.split()[0]) * 2**20
    assert 0.7 * BUDGET < grown < 1.3 * BUDGET, run.stdout
