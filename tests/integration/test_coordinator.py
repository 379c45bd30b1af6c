"""The group coordinator dies during a commit: the process does not wait for its response forever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import client
from tests.brokers.kafka import Kafka

from .fleet import Fleet
from .stage import Stage
from .watch import Moment

pytestmark = [pytest.mark.without_changelogs, pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_coordinator_that_dies_with_a_request_unanswered(cluster: Kafka, app_id: str, tmp_path: Path) -> None:
    """It is paused before it dies, so that a commit is certainly in flight."""
    stage = Stage(cluster, app_id, tmp_path)
    try:
        with Fleet(stage, replication_factor=3) as fleet:
            [life] = fleet.start(fleet.instance("one"))
            node = cluster.nodes[client.coordinator(stage.broker, app_id) - 1]
            node.pause()
            life_goes_on = Moment()
            with pytest.raises(TimeoutError):
                fleet.watch.wait_until_back(life_goes_on, 2)
            node.kill()
            killed = Moment()
            fleet.watch.wait_until_back(killed, 90)
            cluster.restart()
            fleet.stop([life])
            fleet.judge()
    finally:
        stage.close()
        cluster.restart()
