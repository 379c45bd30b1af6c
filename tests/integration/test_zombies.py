"""Zombies: processes that were replaced without knowing it write nothing more, release their tasks, and rejoin.

They are paused, disconnected from the brokers in one direction or both, or have a clock that jumps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tests.support.patience import PATIENCE

from .fleet import Fleet, readied
from .program import Life
from .stage import Stage
from .watch import Moment

pytestmark = [pytest.mark.without_changelogs, pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(300)]

SESSION = 6.0
REPLACED = r"membership lost|giving up this membership"


def wait_until_they_have_come_back(replaced: dict[Life, int], fleet: Fleet, members: int) -> None:
    """Wait until they have detected their replacement, rejoined, and opened further tasks."""
    for life in replaced:
        life.wait_for(REPLACED, 60)
    fleet.wait_until_shared(members, 90)
    for life, before in replaced.items():
        client.wait_for(lambda life=life, before=before: len(readied(life)) > before, 60, "it to open tasks again")


def test_paused_processes_are_fenced_and_rejoin(stage: Stage) -> None:
    """One is paused from outside, one between sending and committing offsets, for longer than the session timeout."""
    with Fleet(stage, session_timeout=f"{SESSION:g}s", heartbeat_interval="1s") as fleet:
        inside = fleet.instance("inside", failpoint="after-send-offsets:25=stop")
        first, outside = fleet.start(fleet.instance("one"), fleet.instance("outside"))
        frozen = inside.start()
        client.wait_for(frozen.stands_still, 90, "it to stop itself")
        outside.child.pause()
        stopped = Moment()
        assert max(fleet.watch.wait_until_back(stopped, 60)) < SESSION + 15
        assert len(fleet.assigned()) == 1
        replaced = {life: len(readied(life)) for life in (outside, frozen)}
        for life in replaced:
            life.child.resume()
        wait_until_they_have_come_back(replaced, fleet, 3)
        fleet.stop([first, outside, frozen])
        fleet.judge()


def test_disconnected_processes_are_fenced_and_rejoin(
    start_kafka: Callable[..., Kafka], app_id: str, tmp_path: Path
) -> None:
    """Three at once: requests are lost, responses are lost, or both."""
    kafka = start_kafka(ways=3)
    stage = Stage(kafka, app_id, tmp_path)
    directions: list[Literal["to_broker", "to_client", "both"]] = ["to_broker", "to_client", "both"]
    with Fleet(stage, session_timeout=f"{SESSION:g}s", heartbeat_interval="1s") as fleet:
        places = [
            fleet.instance(direction, broker=way.address) for direction, way in zip(directions, kafka.ways, strict=True)
        ]
        first, *cut_off = fleet.start(fleet.instance("one"), *places)
        for direction, way in zip(directions, kafka.ways, strict=True):
            way.cut(direction)
        cut = Moment()
        assert max(fleet.watch.wait_until_back(cut, 60)) < SESSION + 15
        assert len(fleet.assigned()) == 1
        replaced = {life: len(readied(life)) for life in cut_off}
        for way in kafka.ways:
            way.heal()
        wait_until_they_have_come_back(replaced, fleet, 4)
        fleet.stop([first, *cut_off])
        fleet.judge()
    stage.close()


def test_a_clock_that_jumps_does_no_harm(stage: Stage, tmp_path: Path) -> None:
    skew = tmp_path / "clock"
    skew.write_text("0")
    with Fleet(stage) as fleet:
        place = fleet.instance("one")
        place.variables["TIDEMILL_TEST_CLOCK"] = str(skew)
        [life] = fleet.start(place)
        began = Moment()
        for seconds in (3600, -3600, 0, -40, 86_400 * 2, 0):
            tmp_path.joinpath("new").write_text(str(seconds))
            tmp_path.joinpath("new").replace(skew)  # atomically: the program polls this file
            fleet.watch.wait_until_back(Moment(), 30)
        assert max(fleet.watch.silences(began.monotonic)) < 5 * PATIENCE
        assert len(readied(life)) == len(set(readied(life))), "a task was opened twice"
        assert "membership lost" not in life.log
        fleet.stop([life])
        fleet.judge()
