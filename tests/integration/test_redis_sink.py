"""Sinks to Redis keep each row as it is in the table: with kills, zombies, and a server that is away."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import pytest

from tests.brokers import client
from tests.brokers.redis import Redis

from .eos import trial
from .program import Life
from .sink_trial import MINUTE, SinkTrial, deaths_of_servers
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(300)]
KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "6"))
AWAY = float(os.environ.get("TIDEMILL_TEST_AWAY", "8"))
"""Seconds for which the server is away."""


class Trial(SinkTrial):
    """The program, its input and its server."""

    module = "to_redis.py"

    def __init__(self, stage: Stage, server: Redis, **settings: object) -> None:
        super().__init__(stage, **settings)
        self.server = server

    @property
    def variables(self) -> dict[str, str]:
        return {"REDIS": self.server.url}

    def rows(self, table: str) -> dict[str, dict[str, int]]:
        found = self.server.rows(f"{self.stage.app_id}:{table}:")
        return {key: json.loads(value) for key, value in found.items()}

    def written(self) -> int:
        return sum(row["sales"] for row in self.rows("totals").values())

    def right(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """Return the rows of a batch over the topic."""
        latest: dict[str, dict[str, int]] = {}
        totals: dict[str, dict[str, int]] = {}
        minutes: dict[str, dict[str, int]] = {}
        for row in self.stage.read("sales"):
            sale = json.loads(row.value or b"")
            latest[(row.key or b"").decode()] = sale
            total = totals.setdefault(sale["item"], {"sales": 0, "pieces": 0, "numbers": 0})
            begin = row.timestamp // MINUTE * MINUTE
            minute = minutes.setdefault(f"{sale['item']}:{begin}:{begin + MINUTE}", {"sales": 0, "pieces": 0})
            total["numbers"] += sale["number"]
            for each in (total, minute):
                each["sales"] += 1
                each["pieces"] += sale["pieces"]
        even = {key: row for key, row in minutes.items() if row["pieces"] % 2 == 0}
        return {"latest": latest, "totals": totals, "minutes": even}

    def finish(self, lives: Sequence[Life]) -> None:
        """Wait until the rows are those of a batch, stop the programs, and compare again."""
        right = self.right()

        def found() -> Mapping[str, Mapping[str, Mapping[str, int]]]:
            return {table: self.rows(table) for table in right}

        client.wait_for(lambda: found() == right, 60, f"the rows of {self.sales.made} sales")
        for life in lives:
            assert life.stop() == 0
        assert found() == right


@pytest.mark.timeout(120 + 15 * KILLS)
def test_rows_are_right_through_kills(stage: Stage, redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    seed, chance = trial.seeded()
    Trial(stage, redis).survive(deaths_of_servers(chance, KILLS), seed, chance, capsys)


def test_an_owner_that_was_paused_before_a_write_is_refused(stage: Stage, redis: Redis) -> None:
    """It stands still with a write prepared, is replaced, and resumed."""
    one = Trial(stage, redis, session_timeout="6s", heartbeat_interval="1s")
    one.replace_while_paused("before-target-write")


def test_an_unavailable_server_stalls_only_the_sinks(stage: Stage, own_redis: Redis) -> None:
    Trial(stage, own_redis).stall_sinks_only(own_redis.kill, own_redis.start, AWAY)
