"""Fixtures: supervisors with workers, which end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.supervised import Run, Running


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Running] = []

    def start(command: str, stop_timeout: int = 30_000, bounds: str = "", interpreter: Path | None = None) -> Running:
        started.append(Running(tmp_path, command, stop_timeout, bounds, interpreter))
        return started[-1]

    yield start
    for running in started:
        running.close()
