"""Missing or unsuitable topics: the program waits where this helps, and otherwise reports what to do."""

from __future__ import annotations

import pytest

from tests.brokers import client

from .orders import TOPICS, items, order, prepared
from .stage import Stage

pytestmark = pytest.mark.timeout(90)


def in_words(log: str) -> str:
    return " ".join(log[log.index("error: ") :].split())


def test_a_missing_input_topic_is_waited_for_up_to_a_limit(stage: Stage) -> None:
    life = stage.program("orders.py", topic_timeout="2s").start()
    life.wait_for("waiting for the input topic " + stage.name("orders"))
    assert life.exit() == 2
    said = in_words(life.log)
    assert f"the input topic '{stage.name('orders')}' does not exist, after waiting 2s" in said
    assert "Create it" in said
    assert stage.internal() == [], "a program that cannot run creates no topics"


def test_an_input_topic_that_appears_is_read(stage: Stage) -> None:
    life = stage.program("orders.py", commit_interval="100ms").start()
    life.wait_for("waiting for the input topic")
    prepared(stage, [order("apple"), order("beet")])
    stage.wait_for_rows("enriched", 2)
    assert life.stop() == 0
    assert items(stage) == ["apple", "beet"]


def test_a_changelog_with_another_partition_count_is_refused(stage: Stage) -> None:
    stage.topics(*TOPICS, partitions=4)
    changelog = f"{stage.app_id}-totals-changelog"
    client.create_topic(stage.broker, changelog, 3, config={"cleanup.policy": "compact"})
    life = stage.program("orders.py").start()
    assert life.exit() == 2
    said = in_words(life.log)
    assert f"topic '{stage.name('orders')}' has 4 partitions now" in said
    assert f"the state of step 'totals' was built with 3 (as many as its changelog '{changelog}' has)" in said
    assert "tidemill reset" in said


def test_a_repartition_topic_with_another_partition_count_is_refused(stage: Stage) -> None:
    stage.topics("data", "max", "count", "last", partitions=4)
    program = stage.program("max_count.py")
    first = program.start()
    first.wait_for('"replayed":')
    assert first.stop() == 0
    [repartition] = [name for name in stage.internal() if name.endswith("-repartition")]
    assert client.topics(stage.broker)[repartition] == 4
    client.add_partitions(stage.broker, repartition, 6)
    client.wait_for(lambda: client.topics(stage.broker)[repartition] == 6, 15, "the partitions to be added")
    life = program.start()
    assert life.exit() == 2
    said = in_words(life.log)
    assert f"topic '{repartition}' has 6 partitions now" in said
    assert "the state of step 'max' was built with 4" in said
    assert "tidemill reset" in said


def test_a_changelog_that_is_not_compacted_is_refused(stage: Stage) -> None:
    stage.topics(*TOPICS)
    changelog = f"{stage.app_id}-totals-changelog"
    client.create_topic(stage.broker, changelog, 1, config={"cleanup.policy": "delete"})
    life = stage.program("orders.py").start()
    assert life.exit() == 2
    said = in_words(life.log)
    assert changelog in said
    assert "cleanup.policy=delete" in said
    assert "kafka-configs --alter" in said


def test_input_that_was_deleted_before_it_was_read_is_not_skipped_silently(stage: Stage) -> None:
    prepared(stage, [order("apple"), order("beet")])
    program = stage.program("orders.py", commit_interval="100ms")
    life = program.start()
    stage.wait_for_rows("enriched", 2)
    assert life.stop() == 0
    stage.send("orders", [order(f"item-{number}") for number in range(10)])
    stage.delete_before("orders", 7)
    life = program.start()
    assert life.exit() == 3
    said = in_words(life.log)
    assert f"topic '{stage.name('orders')}', partition 0: offset 2 is not in the topic any more" in said
    assert "tidemill reset" in said
    assert items(stage) == ["apple", "beet"]
