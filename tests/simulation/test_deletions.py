"""Simulation of expired tombstones: a store that was closed for longer than they are kept is not reused."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import pytest

from tidemill.engine.restore import replay
from tidemill.state import restore

from .driver import Schedule, Violation
from .schedule import gone_deletions


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    log = logging.getLogger("tidemill")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(level)


@pytest.mark.parametrize("seed", [3, 16])
def test_keys_that_were_deleted_do_not_come_back(seed: int) -> None:
    Schedule(seed, gone_deletions(seed)).run()


@pytest.mark.slow
def test_the_simulation_detects_that_outdated_stores_are_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (restore, replay):
        monkeypatch.setattr(place, "outdated", lambda complete, now, kept: "")
    with pytest.raises(Violation, match=r"opened: kept\[k\d\] is \[\d+\], should be \[\]"):
        many(range(10, 200))


def many(seeds: Iterable[int]) -> None:
    for seed in seeds:
        Schedule(seed, gone_deletions(seed)).run()
