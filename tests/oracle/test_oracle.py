"""Kafka Streams as the test oracle: its recorded results, input by input, are compared with `TopologyDriver`.

Another directory of cases: ORACLE_CASES=/some/where pytest tests/oracle.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.oracle.runner import load, play

CASES = Path(os.environ.get("ORACLE_CASES") or Path(__file__).parent / "cases")
PATHS = sorted(CASES.glob("*.jsonl"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    play(load(path))


def test_there_are_cases() -> None:
    assert PATHS
