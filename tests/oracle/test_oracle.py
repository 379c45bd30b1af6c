"""Kafka Streams as the judge: its recorded behaviour, input by input, through `TopologyDriver`.

Another directory of cases: ORACLE_CASES=/some/where pytest tests/oracle.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.oracle.runner import load, play
from tests.oracle.topologies import TOPOLOGIES, UNSUPPORTED


def supported(file: str) -> bool:
    """Whether the program of a case can be written."""
    case, variant, *_ = file.split(".")
    return case in TOPOLOGIES and f"{case}.{variant}" not in UNSUPPORTED


CASES = Path(os.environ.get("ORACLE_CASES") or Path(__file__).parent / "cases")
PATHS = [path for path in sorted(CASES.glob("*.jsonl")) if supported(path.name)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    play(load(path))


def test_there_are_cases() -> None:
    assert PATHS
