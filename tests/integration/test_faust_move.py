"""An application moves from Faust's own worker to this engine, and goes on with its tables."""

from __future__ import annotations

from ast import literal_eval
from typing import Any

import orjson
import pytest

from tests.brokers import client

from .program import Program
from .stage import Stage
from .test_faust import faust, values

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROWS = 30_000


def visits(rows: list[tuple[str, str, float]]) -> list[tuple[bytes, bytes]]:
    return [(who.encode(), orjson.dumps({"page": page, "at": at})) for who, page, at in rows]


def told(stage: Stage) -> dict[str, list[Any]]:
    return {who: [literal_eval(one) for one in found] for who, found in values(stage, "told").items()}


def own_worker(stage: Stage, app: str, **variables: str) -> Program:
    """The same application under Faust's own worker."""
    given = {"FAUST_APP": app, "DATADIR": str(stage.directory / "own"), **variables}
    return stage.program("faust_own_worker.py", variables=given, name=f"own_{app}")


@pytest.mark.parametrize("without", ["", "orjson"])
def test_tables_of_fausts_own_worker_go_on(stage: Stage, without: str) -> None:
    stage.topics("visits", "told", partitions=2)
    first = [("ann", "home", 10.0), ("bob", "home", 40.0), ("ann", "shop", 50.0), ("cid", "home", 5.0)]
    first += [("cid", "leave", 50.0), ("ann", "home", 70.0)]
    life = own_worker(stage, "faust_moves", WITHOUT=without).start()
    stage.send("visits", visits(first))
    stage.wait_for_rows("told", len(first), timeout=90)
    stage.wait_until_committed("visits", timeout=60)
    life.stop()

    program = faust(stage, "faust_moves")
    life = program.start()
    life.wait_for("took over")
    assert "begin empty" not in life.log, "the stores begin with what is taken over"
    stage.send("visits", visits([("ann", "home", 80.0), ("bob", "shop", 85.0), ("cid", "shop", 55.0)]))
    stage.wait_for_rows("told", len(first) + 3, timeout=60)
    life.kill()  # what was taken over is not taken over again
    life = program.start()
    stage.send("visits", visits([("ann", "exit", 81.0)]))
    stage.wait_for_rows("told", len(first) + 4, timeout=60)
    assert life.stop() == 0
    found = told(stage)
    assert found["ann"][3:] == [[4, "home", 2, 3, ["home", "shop"]], [5, "home", 3, 1, ["exit", "home", "shop"]]]
    assert found["bob"][1:] == [[2, "home", 1, 1, ["home", "shop"]]]
    assert found["cid"][2:] == [[1, "leave", 2, 1, ["leave", "shop"]]]


def test_a_kill_in_the_middle_changes_nothing(stage: Stage) -> None:
    stage.topics("visits", "told", "counts-changelog", partitions=1)
    rows = [(orjson.dumps(f"n{number}"), orjson.dumps(number)) for number in range(ROWS)]
    stage.send("counts-changelog", [*rows, (b'"n7"', None), (b'"n8"', b"1000")])
    program = faust(stage, "faust_moves", commit_interval="20ms")
    ours = f"{stage.app_id}-agents-table-counts-changelog"
    life = program.start()
    client.wait_for(lambda: ours in client.topics(stage.broker) and client.read(stage.broker, ours), 60, "rows")
    life.kill()
    assert len(client.read(stage.broker, ours)) < ROWS, "everything was taken over before the kill"
    life = program.start()
    stage.send("visits", visits([("n7", "home", 1.0), ("n8", "home", 1.0), (f"n{ROWS - 1}", "home", 1.0)]))
    stage.wait_for_rows("told", 3, timeout=60)
    assert life.stop() == 0
    assert {who: found[0][0] for who, found in told(stage).items()} == {"n7": 1, "n8": 1001, f"n{ROWS - 1}": ROWS}
    assert "took over" in life.log
