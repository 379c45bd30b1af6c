"""Internal topics of an application: their partitions, clean-up policies and purging."""

from __future__ import annotations

import struct

import pytest

from tests.brokers import client

from .stage import Stage

pytestmark = pytest.mark.timeout(90)


def rows(count: int) -> list[tuple[bytes, bytes]]:
    return [(f"k{number % 50}".encode(), struct.pack(">q", number)) for number in range(count)]


def test_internal_topics_are_created_and_repartition_topics_are_purged_after_commits(stage: Stage) -> None:
    stage.topics("data", "max", "count", "last", partitions=3)
    stage.send("data", rows(3000))
    life = stage.program("max_count.py", purge_interval="500ms").start()
    stage.wait_for_rows("last", 3000)
    stage.wait_until_committed("data")

    made = {name.removeprefix(f"{stage.app_id}-"): client.topics(stage.broker)[name] for name in stage.internal()}
    assert made == dict.fromkeys(["max-repartition", "max-changelog", "count-changelog", "last-changelog"], 3)
    for name in stage.internal():
        policy = client.topic_config(stage.broker, name)["cleanup.policy"]
        assert policy == ("compact" if name.endswith("-changelog") else "delete"), name

    repartition = f"{stage.app_id}-max-repartition"

    def emptied() -> bool:
        committed = client.committed_offsets(stage.broker, stage.app_id, repartition)
        return bool(committed) and client.begin_offsets(stage.broker, repartition) == committed

    client.wait_for(emptied, 20, "the repartition topic to be emptied up to what is committed")
    assert sum(client.begin_offsets(stage.broker, repartition).values()) >= 3000

    stage.send("data", rows(1000))
    assert len(stage.wait_for_rows("last", 4000)) == 4000, "nothing that was still needed is deleted"
    assert life.stop() == 0


def test_changelogs_written_at_least_once_keep_what_is_not_committed_yet(stage: Stage) -> None:
    """A restore ignores what is beyond the committed offsets, so the records before must not be compacted."""
    stage.topics("data", "max", "count", "last")
    stage.send("data", rows(10))
    life = stage.program("max_count.py", guarantee="at_least_once").start()
    stage.wait_for_rows("last", 10)
    for name in stage.internal():
        kept = client.topic_config(stage.broker, name)["min.compaction.lag.ms"]
        assert kept == ("86400000" if name.endswith("-changelog") else "0"), name
    assert life.stop() == 0
