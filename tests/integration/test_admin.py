"""Commands that inspect and reset an application, on a real broker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.brokers import client

from .orders import order, prepared, rows_of_totals
from .program import PROGRAMS
from .stage import Stage

pytestmark = pytest.mark.timeout(120)


def tidemill(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the broker of the stage."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMILL_")}
    return subprocess.run(
        [sys.executable, "-m", "tidemill", *arguments],
        env={
            **environment,
            "TOPICS": stage.app_id,
            "NO_COLOR": "1",
            "TIDEMILL_BROKER": stage.address,
            "TIDEMILL_APP_ID": stage.app_id,
            "TIDEMILL_STATE_DIR": str(stage.directory / "state"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def status(stage: Stage) -> dict[str, Any]:
    found = tidemill(stage, "status", stage.app_id, "--format", "json")
    assert found.returncode == 0, found.stderr
    return orjson.loads(found.stdout)


ORDERS = str(PROGRAMS / "orders.py")


def test_status_dump_and_reset_through_the_life_of_an_application(stage: Stage) -> None:
    prepared(stage, [order("apple", amount=3), order("beet", amount=4)], partitions=2)
    assert status(stage)["state"] == "Dead"

    program = stage.program("orders.py", commit_interval="100ms")
    life = program.start()
    stage.wait_for_rows("totals", 2)
    stage.wait_until_committed("orders")
    running = status(stage)
    [member] = running["members"]
    assert running["state"] == "Stable"
    assert member["active"] == ["0_0", "0_1"]
    assert {entry["topic"] for entry in running["lag"]} == {stage.name("orders")}
    text = tidemill(stage, "status", stage.app_id).stdout
    assert f"{stage.app_id}: Stable, 1 member, lag " in text

    refused = tidemill(stage, "reset", ORDERS, "--yes")
    assert refused.returncode == 2
    assert "is running: 1 member in its group" in refused.stderr
    refused = tidemill(stage, "state", "dump", ORDERS, "totals")
    assert refused.returncode == 4
    assert "is in use by process" in refused.stderr

    assert life.stop() == 0
    dumped = [orjson.loads(line) for line in tidemill(stage, "state", "dump", ORDERS, "totals").stdout.splitlines()]
    assert [(entry["key"], entry["value"]) for entry in dumped] == [("k", {"count": 2, "amount": 7})]

    internal = stage.internal()
    assert internal
    dry = tidemill(stage, "reset", ORDERS, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    for name in internal:
        assert f"delete the topic {name}\n" in dry.stdout
    assert stage.internal() == internal, "a dry run removes nothing"
    assert tidemill(stage, "reset", ORDERS).returncode == 130, "reset without confirmation"
    assert stage.internal() == internal

    done = tidemill(stage, "reset", ORDERS, "--yes")
    assert done.returncode == 0, done.stderr
    client.wait_for(lambda: not stage.internal(), 20, "the internal topics to be gone")
    assert status(stage)["state"] == "Dead"
    assert not (stage.directory / "state" / stage.app_id).exists()
    assert client.end_offsets(stage.broker, stage.name("orders")), "inputs are kept"

    assert len(stage.read("totals")) == 2
    life = program.start()
    stage.wait_for_rows("totals", 4)
    assert life.stop() == 0
    assert [row["count"] for row in rows_of_totals(stage, "k")] == [1, 2, 1, 2], "it started from the beginning"


def test_status_shows_what_is_restored_on_this_machine(stage: Stage) -> None:
    many = 12_000  # more than the first batches
    prepared(stage, [order("apple", key=f"k-{number}") for number in range(many)])
    program = stage.program("orders.py", commit_interval="100ms")
    life = program.start()
    stage.wait_for_rows("totals", many)
    assert life.stop() == 0
    assert status(stage)["restoring"] == []
    shutil.rmtree(stage.directory / "state")
    life = program.start(failpoint="during-restore:2=stop")
    client.wait_for(lambda: status(stage)["restoring"], 30, "a restore")
    [found] = status(stage)["restoring"]
    assert (found["worker"], found["task"]) == (0, "0_0")
    assert 0 <= found["records_done"] < many <= found["records"]
    text = tidemill(stage, "status", stage.app_id).stdout
    assert "worker 0 on this machine restores task 0_0: " in text
    life.child.resume()
    life.wait_for("task 0_0 is ready")
    client.wait_for(lambda: not status(stage)["restoring"], 30, "the end of the restore")
    assert life.stop() == 0


def test_reset_by_the_application_id_alone(stage: Stage) -> None:
    prepared(stage, [order("apple")])
    life = stage.program("orders.py", commit_interval="100ms").start()
    stage.wait_for_rows("totals", 1)
    assert life.stop() == 0
    stage.topics("longer-x-changelog")
    other = Consumer({"bootstrap.servers": stage.broker, "group.id": stage.name("longer")})
    other.commit(offsets=[TopicPartition(stage.name("orders"), 0, 1)], asynchronous=False)
    other.close()
    done = tidemill(stage, "reset", stage.app_id, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"leave the topic {stage.name('longer-x-changelog')}: it may belong to another application" in done.stdout
    client.wait_for(lambda: stage.internal() == [stage.name("longer-x-changelog")], 20, "its own topics to be gone")


def test_topology_of_a_program_with_the_partitions_on_the_broker(stage: Stage) -> None:
    missing = tidemill(stage, "topology", ORDERS, "--stage", "physical")
    assert missing.returncode == 2
    assert f"these input topics do not exist at {stage.address}: {stage.name('orders')}" in missing.stderr
    prepared(stage, [], partitions=3)
    shown = tidemill(stage, "topology", ORDERS, "--stage", "physical")
    assert shown.returncode == 0, shown.stderr
    assert f"sub-topology 0: 3 tasks, 0_0 to 0_2\n  reads {stage.name('orders')} (3 partitions)" in shown.stdout
    assert f"{stage.app_id}-totals-changelog (changelog, 3 partitions)" in shown.stdout
