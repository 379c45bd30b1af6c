"""Changelogs and stores that lose what they had: what is lost is lost, and the process goes on."""

from __future__ import annotations

from typing import Any

import pytest

from .stage import Stage, stage

SEEDS = range(5)
CHANGELOG = "sim-seen-changelog"


def loses_its_end(play: Stage) -> None:
    """An unclean election: the new leader of a changelog does not have its newest records."""
    for log in play.broker.topics[CHANGELOG]:
        log.end = max(log.begin, log.end - 4)
        log.entries = [entry for entry in log.entries if entry.offset < log.end]


def judge_no_state(play: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """State is lost, and nobody can say what should be there."""

    def nothing(*_: Any) -> list[str]:
        return []

    monkeypatch.setattr(play.check, "opened", nothing)
    monkeypatch.setattr(play.check, "results", nothing)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changelog_that_has_lost_its_end_ends_no_process(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage(seed) as play:
        judge_no_state(play, monkeypatch)
        first = play.new()
        for _ in range(20):
            play.feed()
        play.settled()
        play.dies(first)
        loses_its_end(play)
        again = play.new(first.disk)
        for _ in range(20):
            play.feed()
        play.settled()
        play.check_that(len(again.tasks) == 2, "all tasks run")


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_is_found_and_costs_nothing(seed: int) -> None:
    with stage(seed) as play:
        first = play.new()
        for _ in range(20):
            play.feed()
        play.settled()
        play.check_that(first.disk.damage() != "", "a store is damaged")
        for _ in range(20):
            play.feed()
        play.settled()
        play.check_that(first in play.processes, "the process goes on")
