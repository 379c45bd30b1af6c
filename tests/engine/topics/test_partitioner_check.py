"""Tests of the partitioner check: joined topics with different key partitioning are detected by their records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.kafka.murmur2 import murmur2_partition
from tidemill.engine.kafka.partitioners import PARTITIONERS
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.topics.partitioner_check import FIRST, PartitionerCheck, meetings
from tidemill.operators.record import Batch

N = 4
KEYS = [f"user-{number}".encode() for number in range(200)]
Place = Callable[[bytes, int], int]


def by_first_byte(key: bytes, partitions: int) -> int:
    return key[-1] % partitions


def planned(build: Callable[[tm.App], Any], *topics: str) -> Plan:
    app = tm.App("shop")
    build(app)
    return plan(partition(app.topology()), "shop", dict.fromkeys(topics, N))


def rekeyed(app: tm.App) -> None:
    users = app.table("users", key=tm.utf8, value=tm.utf8)
    clicks = app.stream("clicks", key=tm.utf8, value=tm.utf8)
    clicks.with_key(lambda v: v).join(users, lambda a, b: a + b).named("join").to("out", value=tm.utf8)


def direct(app: tm.App) -> None:
    users = app.table("users", key=tm.utf8, value=tm.utf8)
    clicks = app.stream("clicks", key=tm.utf8, value=tm.utf8)
    clicks.join(users, lambda a, b: a + b).named("join").to("out", value=tm.utf8)


def foreign_key(app: tm.App) -> None:
    users = app.table("users", key=tm.utf8, value=tm.utf8)
    orders = app.table("clicks", key=tm.utf8, value=tm.utf8)
    orders.join(users, on=lambda o: o, function=lambda o, u: o + u).named("join").to("out", value=tm.utf8)


def moved(app: tm.App) -> None:
    users = app.table("users", key=tm.utf8, value=tm.utf8).repartition()
    clicks = app.stream("clicks", key=tm.utf8, value=tm.utf8)
    clicks.with_key(lambda v: v).join(users, lambda a, b: a + b).named("join").to("out", value=tm.utf8)


def found(running: Plan, *topics: tuple[str, Place], keys: list[bytes] = KEYS, size: int = 10) -> list[str]:
    """Return the error for records of these topics with these partitioners."""
    placement = PartitionerCheck()
    said: list[str] = []
    for topic, way in topics:
        subtopology = next(
            subtopology for subtopology in running.subtopologies if topic in subtopology.topic_partitions
        )
        for number in range(N):
            mine = [key for key in keys if way(key, N) == number]
            for begin in range(0, len(mine), size):
                some: list[bytes | None] = [*mine[begin : begin + size]]
                none = [None] * len(some)
                batch = Batch(topic, number, some, none, [0] * len(some), list(range(len(some))), None, 0)  # type: ignore[arg-type]
                text = placement.look(subtopology, batch)
                said += [text] if text is not None else []
    return said


CRC = PARTITIONERS["CRC32"]


def test_rekeyed_records_may_be_in_any_partition() -> None:
    assert found(planned(rekeyed, "users", "clicks"), ("clicks", CRC), ("users", murmur2_partition)) == []


def test_both_tables_of_a_foreign_key_join_lie_by_murmur2() -> None:
    """Results come back to the left row through a topic that is partitioned by it."""
    running = planned(foreign_key, "users", "clicks")
    assert found(running, ("clicks", murmur2_partition), ("users", murmur2_partition)) == []
    assert len(found(running, ("clicks", CRC), ("users", murmur2_partition))) == 1


@pytest.mark.parametrize("build", [rekeyed, foreign_key])
@pytest.mark.parametrize("way", [CRC, by_first_byte])
def test_beside_a_repartition_keys_lie_by_murmur2(build: Callable[[tm.App], Any], way: Place) -> None:
    running = planned(build, "users", "clicks")
    [said] = found(running, ("users", way))
    assert "in topic 'users' the key b'user-" in said
    assert "in topic 'shop-" in said
    assert "-repartition' it is in partition" in said
    assert "partitioner=murmur2_random" in said
    assert ".repartition()" in said


@pytest.mark.parametrize(
    ("left", "right", "fine"),
    [
        (CRC, CRC, True),
        (murmur2_partition, murmur2_partition, True),
        (by_first_byte, by_first_byte, True),
        (CRC, murmur2_partition, False),
        (murmur2_partition, CRC, False),
        (CRC, by_first_byte, False),
        (by_first_byte, murmur2_partition, False),
    ],
)
def test_input_topics_need_only_place_keys_alike(left: Place, right: Place, fine: bool) -> None:
    running = planned(direct, "users", "clicks")
    for topics in ((("clicks", left), ("users", right)), (("users", right), ("clicks", left))):
        said = found(running, *topics)
        assert bool(said) is not fine, said


def test_a_table_that_is_repartitioned_may_come_from_anywhere() -> None:
    running = planned(moved, "users", "clicks")
    assert found(running, ("users", CRC), ("clicks", by_first_byte)) == []
    [joined] = [subtopology for subtopology in running.subtopologies if meetings(subtopology)]
    assert all(topic.endswith("-repartition") for topic in meetings(joined)["join"])


def test_keys_that_go_anywhere_say_nothing() -> None:
    running = planned(rekeyed, "users", "clicks")
    subtopology = next(subtopology for subtopology in running.subtopologies if "users" in subtopology.topic_partitions)
    batch = Batch("users", 3, [None, b""], [b"x", b"y"], [0, 0], [0, 1], None, 2)
    assert PartitionerCheck().look(subtopology, batch) is None


def test_a_producer_that_comes_later_is_found_by_one_record_a_batch() -> None:
    running = planned(rekeyed, "users", "clicks")
    subtopology = next(subtopology for subtopology in running.subtopologies if "users" in subtopology.topic_partitions)
    placement = PartitionerCheck()
    right = next(key for key in KEYS if murmur2_partition(key, N) == 0)
    wrong = next(key for key in KEYS if murmur2_partition(key, N) == 1)

    def come(*keys: bytes) -> str | None:
        count = len(keys)
        return placement.look(
            subtopology, Batch("users", 0, [*keys], [None] * count, [0] * count, [*range(count)], None, 0)
        )

    assert come(*[right] * FIRST) is None
    assert come(right, wrong) is None, "not every record is looked at"
    assert come(wrong, right) is not None
    assert come(wrong, right) is None, "it is reported once"
