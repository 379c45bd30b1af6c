"""Sinks to OpenSearch keep each row as it is in the table: with kills, zombies, a server that is away, new topics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.brokers import client
from tests.brokers.opensearch import SearchServer

from .eos import trial
from .program import Life
from .sink_trial import MINUTE, PARTITIONS, SinkTrial, deaths_of_servers
from .stage import Stage
from .test_admin import tidemill

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(400)]
KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "6"))
AWAY = float(os.environ.get("TIDEMILL_TEST_AWAY", "8"))
"""Seconds for which the server is away."""


class Trial(SinkTrial):
    """The program, its input and its server."""

    module = "to_opensearch.py"

    def __init__(self, stage: Stage, server: SearchServer, **settings: object) -> None:
        super().__init__(stage, **settings)
        self.server = server

    @property
    def variables(self) -> dict[str, str]:
        return {"OPENSEARCH": self.server.url}

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        return self.server.rows(f"{self.stage.app_id.lower()}-{table}")

    def written(self) -> int:
        return sum(row["sales"] for row in self.rows("totals").values())

    def right(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """Return the rows of a batch over the topic."""
        latest: dict[str, dict[str, Any]] = {}
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

        def found() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
            return {table: self.rows(table) for table in right}

        client.wait_for(lambda: found() == right, 90, f"the rows of {self.sales.made} sales")
        for life in lives:
            assert life.stop() == 0
        assert found() == right


@pytest.mark.timeout(120 + 15 * KILLS)
def test_rows_are_right_through_kills(stage: Stage, search: SearchServer, capsys: pytest.CaptureFixture[str]) -> None:
    seed, chance = trial.seeded()
    Trial(stage, search).survive(deaths_of_servers(chance, KILLS), seed, chance, capsys)


@pytest.mark.parametrize("place", ["before-target-write", "during-target-write"])
def test_an_owner_that_was_paused_in_a_write_is_refused(stage: Stage, search: SearchServer, place: str) -> None:
    """It stands still before its rows, or between these and the position, is replaced, and resumed."""
    one = Trial(stage, search, session_timeout="6s", heartbeat_interval="1s")
    one.replace_while_paused(place)


def test_a_server_that_is_killed_stalls_only_the_sinks(stage: Stage, own_search: SearchServer) -> None:
    Trial(stage, own_search).stall_sinks_only(own_search.kill, own_search.start, AWAY)


def test_topics_that_are_made_again_begin_anew(stage: Stage, search: SearchServer) -> None:
    """Their offsets are lower than those of the rows that are there, and their rows are later."""
    one = Trial(stage, search)
    program = one.program()
    life = program.start()
    with one.feed():
        client.wait_for(lambda: one.written() > 600, 60, "rows")
    one.finish([life])
    client.delete_topic(stage.broker, stage.name("sales"))
    reset = tidemill(stage, "reset", stage.app_id, "--yes")
    assert reset.returncode == 0, reset.stderr
    stage.topics("sales", partitions=PARTITIONS)
    stage.send("sales", [one.sales.record() for _ in range(300)])
    right = one.right()
    assert (len(right["latest"]), len(right["totals"])) == (50, 5)
    life = program.start()
    client.wait_for(lambda: one.rows("totals") == right["totals"], 60, "the sums of the new topic")
    client.wait_for(lambda: one.rows("latest") == right["latest"], 60, "the rows of the new topic")
    assert life.stop() == 0
