"""Simulation of changelogs and stores that lose data: the process continues with what is left."""

from __future__ import annotations

from typing import Any

import pytest

from .scenario import Scenario, scenario

SEEDS = range(5)
CHANGELOG = "sim-seen-changelog"


def loses_its_end(run: Scenario) -> None:
    """Simulate an unclean leader election: the new leader of a changelog lacks its newest records."""
    for log in run.broker.topics[CHANGELOG]:
        log.end = max(log.begin, log.end - 4)
        log.entries = [entry for entry in log.entries if entry.offset < log.end]


def judge_no_state(run: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the checks of state, since lost state has no expected contents."""

    def nothing(*_: Any) -> list[str]:
        return []

    monkeypatch.setattr(run.check, "opened", nothing)
    monkeypatch.setattr(run.check, "results", nothing)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changelog_that_lost_its_newest_records_ends_no_process(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with scenario(seed) as run:
        judge_no_state(run, monkeypatch)
        first = run.start_process()
        for _ in range(20):
            run.feed()
        run.until_processed()
        run.kill_and_remove(first)
        loses_its_end(run)
        again = run.start_process(first.disk)
        for _ in range(20):
            run.feed()
        run.until_processed()
        run.check_that(len(again.tasks) == 2, "all tasks run")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_store_is_detected_and_restored(seed: int) -> None:
    with scenario(seed) as run:
        first = run.start_process()
        for _ in range(20):
            run.feed()
        run.until_processed()
        run.check_that(first.disk.damage() != "", "a store is damaged")
        for _ in range(20):
            run.feed()
        run.until_processed()
        run.check_that(first in run.processes, "the process continues")
