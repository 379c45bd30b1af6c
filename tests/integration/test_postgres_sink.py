"""Sinks to PostgreSQL write each row once: with kills, zombies, and server outages."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.brokers import client
from tests.brokers.postgres import Postgres

from .eos import trial
from .program import Life
from .sink_trial import MINUTE, SinkTrial, deaths_of_servers
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.timeout(300)]
KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", "12"))


class Trial(SinkTrial):
    """The program, its input and its database."""

    module = "to_postgres.py"

    def __init__(self, stage: Stage, server: Postgres, **settings: object) -> None:
        super().__init__(stage, **settings)
        self.server = server
        self.database = stage.app_id.replace("-", "_")[-50:]
        server.rows(f"create database {self.database}")

    @property
    def variables(self) -> dict[str, str]:
        return {"POSTGRES": self.server.url.rpartition("/")[0] + "/" + self.database}

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.server.rows(query, self.database)

    def has(self, table: str) -> bool:
        """Return whether a sink has created its table."""
        return self.rows(f"select to_regclass('{table}') is not null")[0][0] is True

    def written(self) -> int:
        return int(str(self.rows("select count(*) from sales")[0][0])) if self.has("sales") else 0

    def wait_until_written(self, timeout: float = 60.0) -> None:
        """Wait until all sales are written, and the totals include all sales."""

        def all_there() -> bool:
            if self.written() < self.sales.made or not self.has("totals"):
                return False
            return self.rows("select sum(sales) from totals")[0][0] == self.sales.made

        client.wait_for(all_there, timeout, f"{self.sales.made} sales in PostgreSQL")

    def judge(self) -> None:
        """Compare the rows with those of a batch."""
        assert sorted(self.rows("select number, item, pieces from sales")) == self.sales.all
        count, pieces = Counter[str](), Counter[str]()
        for _, item, number in self.sales.all:
            count[item] += 1
            pieces[item] += number
        expected = sorted((item, count[item], pieces[item]) for item in count)
        assert sorted(self.rows("select item, sales, pieces from totals")) == expected

    def judge_windows(self) -> None:
        """Compare the windows with those of the topic, whose timestamps are set by Kafka."""
        sums: dict[tuple[str, int], list[int]] = {}
        for row in self.stage.read("sales"):
            sale = json.loads(row.value or b"")
            entry = sums.setdefault((sale["item"], row.timestamp // MINUTE * MINUTE), [0, 0])
            entry[0] += 1
            entry[1] += sale["pieces"]
        expected = sorted((item, at, *entry) for (item, at), entry in sums.items() if entry[1] % 2 == 0)
        query = "select key, (extract(epoch from window_start) * 1000)::bigint, sales, pieces from minutes"
        assert sorted(self.rows(query)) == expected

    def finish(self, lives: Sequence[Life]) -> None:
        self.wait_until_written()
        client.wait_for(self._settled, 30, "the windows")
        for life in lives:
            assert life.stop() == 0
        self.judge()
        self.judge_windows()

    def _settled(self) -> bool:
        """Return whether the windows are complete; another task writes the totals."""
        if not self.has("minutes"):
            return False
        try:
            self.judge_windows()
        except AssertionError:
            return False
        return True


@pytest.mark.timeout(120 + 15 * KILLS)
def test_each_row_once_through_kills(stage: Stage, postgres: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    seed, chance = trial.seeded()
    Trial(stage, postgres).survive(deaths_of_servers(chance, KILLS), seed, chance, capsys)


def test_an_owner_that_was_paused_in_a_write_is_refused(stage: Stage, postgres: Postgres) -> None:
    """It is paused inside a transaction of PostgreSQL, replaced, and resumed."""
    one = Trial(stage, postgres, session_timeout="6s", heartbeat_interval="1s")
    one.replace_while_paused("during-target-write")


def test_an_unavailable_server_stalls_only_the_sinks(stage: Stage, own_postgres: Postgres) -> None:
    one = Trial(stage, own_postgres, guarantee="at_least_once")
    one.stall_sinks_only(lambda: own_postgres.stop("immediate"), own_postgres.start, 8)


def test_two_workers_share_the_sinks(stage: Stage, postgres: Postgres) -> None:
    one = Trial(stage, postgres, workers=2)
    life = one.program().start()
    with one.feed():
        client.wait_for(lambda: one.written() > 1000, 60, "rows")
    one.finish([life])


def test_refused_rows_stop_the_program_or_are_skipped(stage: Stage, postgres: Postgres) -> None:
    one = Trial(stage, postgres)
    one.rows("create table sales (number bigint, item text, pieces bigint check (pieces < 100))")
    bad = {"number": -1, "item": "pen", "pieces": 100}
    with one.feed():
        time.sleep(0.5)
        stage.send("sales", [(b"k1", json.dumps(bad).encode())])
        time.sleep(0.5)
    stopped = one.program("stopped").start()
    assert stopped.exit(60) == 1
    log = stopped.log
    assert "could not write a record: CheckViolation" in log
    assert "sales-out" in log
    life = one.program("skipping", {"SKIP": "1"}).start()
    client.wait_for(lambda: one.written() == one.sales.made, 60, "the other rows")
    assert life.stop() == 0
    assert sorted(one.rows("select number, item, pieces from sales")) == one.sales.all
    assert "CheckViolation" in life.log
