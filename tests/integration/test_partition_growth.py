"""Input topics that gain partitions while programs run, and topics that appear."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.brokers import client
from tests.brokers.client import Row

from .program import Life
from .stage import Stage

pytestmark = pytest.mark.timeout(120)


def rows(name: str, partition: int, count: int = 10) -> list[Row]:
    return [Row(b"k", f"{name}-{partition}-{number}".encode(), partition) for number in range(count)]


def values(stage: Stage, topic: str, count: int) -> list[str]:
    """Wait for this number of values in a topic, and return them sorted."""
    return sorted((row.value or b"").decode() for row in stage.wait_for_rows(topic, count))


def expected(name: str, *partitions: int, count: int = 10) -> list[str]:
    return sorted((row.value or b"").decode() for partition in partitions for row in rows(name, partition, count))


def ready(life: Life) -> list[str]:
    """Return the tasks that this life has opened, each as often as it was opened."""
    return [
        event["task"] for event in life.events() if event.get("message", "").endswith("offsets") and "task" in event
    ]


def add_partitions(stage: Stage, topic: str, total: int) -> None:
    name = stage.name(topic)
    client.add_partitions(stage.broker, name, total)
    client.wait_for(lambda: client.topics(stage.broker)[name] == total, 15, "the partitions to be there")


def test_new_partitions_and_new_topics_are_read_without_stopping_running_tasks(stage: Stage) -> None:
    """What was written before they are detected is read too, even if the program starts at the latest offset."""
    stage.topics("data", partitions=2)
    stage.topics("copies", "counts", "lines")
    program = stage.program("growing.py", metadata_interval="500ms", commit_interval="100ms")
    life = program.start()
    life.wait_for("task 1_1 is ready")
    life.wait_for("task 0_1 is ready")
    stage.send("data", [row for partition in (0, 1) for row in rows("a", partition)])
    assert values(stage, "copies", 20) == [value.upper() for value in expected("a", 0, 1)]

    add_partitions(stage, "data", 5)
    stage.send("data", [row for partition in range(5) for row in rows("b", partition)])
    assert values(stage, "copies", 70) == sorted(
        value.upper() for value in [*expected("a", 0, 1), *expected("b", *range(5))]
    )
    counts = {(row.key, struct.unpack(">q", row.value or b"")[0]) for row in stage.wait_for_rows("counts", 70)}
    assert (b"a", 20) in counts
    assert (b"b", 50) in counts
    assert client.topics(stage.broker)[f"{stage.app_id}-count-repartition"] == 2, "state keeps its partitions"

    stage.topics("log-m", partitions=2)
    stage.send("log-m", [row for partition in (0, 1) for row in rows("m", partition)])
    assert values(stage, "lines", 20) == expected("m", 0, 1)
    stage.topics("log-a", partitions=3)  # its name sorts first, and it has one more partition
    stage.send("log-a", [row for partition in range(3) for row in rows("a", partition)])
    assert values(stage, "lines", 50) == sorted([*expected("m", 0, 1), *expected("a", 0, 1, 2)])

    opened = ready(life)
    assert {task: opened.count(task) for task in opened if task.startswith(("0_", "1_"))} == dict.fromkeys(
        ["0_0", "0_1", "0_2", "0_3", "0_4", "1_0", "1_1"], 1
    ), "an unrelated task was stopped"
    assert life.stop() == 0

    stage.send("data", rows("c", 4))
    again = program.start()
    values(stage, "copies", 80)
    assert again.stop() == 0


def test_two_processes_share_new_partitions(stage: Stage) -> None:
    stage.topics("data", partitions=2)
    stage.topics("copies", "counts", "lines")
    settings: dict[str, Any] = {"metadata_interval": "500ms", "commit_interval": "100ms"}
    lives = [
        stage.program("growing.py", name=name, state_dir=stage.directory / name, **settings).start() for name in "ab"
    ]
    client.wait_for(lambda: all(ready(life) for life in lives), 30, "both to have tasks")
    add_partitions(stage, "data", 6)
    stage.send("data", [row for partition in range(6) for row in rows("x", partition)])
    assert values(stage, "copies", 60) == [value.upper() for value in expected("x", *range(6))]

    def shared() -> bool:
        tasks = [{task for task in ready(life) if task.startswith("0_")} for life in lives]
        return set().union(*tasks) == {f"0_{n}" for n in range(6)} and all(len(found) >= 3 for found in tasks)

    client.wait_for(shared, 30, "three tasks in each process")
    assert [life.stop() for life in lives] == [0, 0]
    assert len(stage.read("copies")) == 60


def test_a_program_with_state_stops_and_does_not_start_again(stage: Stage) -> None:
    stage.topics("data", "echo", "min", "sum", partitions=2)
    stage.send("data", [(b"k%d" % number, struct.pack(">q", number)) for number in range(100)])
    program = stage.program("echo_min_sum.py", metadata_interval="500ms", commit_interval="100ms")
    life = program.start()
    stage.wait_for_rows("sum", 100)
    stage.wait_until_committed("data")
    add_partitions(stage, "data", 3)
    assert life.exit() == 2
    for ended in (life, program.start()):
        assert ended.exit() == 2
        said = " ".join(ended.log[ended.log.index("error: ") :].split())
        assert f"topic '{stage.name('data')}' has 3 partitions now" in said
        assert "the state of step 'min' was built with 2" in said
    assert client.topics(stage.broker)[f"{stage.app_id}-min-changelog"] == 2, "nothing was changed"


def test_a_topic_that_was_recreated_with_fewer_partitions_is_refused(stage: Stage) -> None:
    stage.topics("data", "echo", "min", "sum", partitions=3)
    program = stage.program("echo_min_sum.py", commit_interval="100ms")
    stage.send("data", [(b"k%d" % number, struct.pack(">q", number)) for number in range(30)])
    life = program.start()
    stage.wait_for_rows("sum", 30)
    assert life.stop() == 0
    client.delete_topic(stage.broker, stage.name("data"))
    client.wait_for(lambda: stage.name("data") not in client.topics(stage.broker), 15, "the topic to be gone")
    stage.topics("data", partitions=2)
    life = program.start()
    assert life.exit() == 2
    said = " ".join(life.log[life.log.index("error: ") :].split())
    assert f"topic '{stage.name('data')}' has 2 partitions now" in said
    assert "deleted and created again" in said
    assert "`tidemill reset`" in said
