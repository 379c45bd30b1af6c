"""Tests of the checks of topic settings on the broker."""

from __future__ import annotations

import pytest

from tidemill.engine.plan.plan import ANY_TIME, InternalTopic
from tidemill.engine.plan.topic_settings import bounds_of_time, misfits, too_small
from tidemill.engine.topics.startup import absent

REPARTITION = InternalTopic("app-by-repartition", "repartition", 2, "by")
CHANGELOG = InternalTopic("app-n-changelog", "changelog", 2, "n")
AT_LEAST_ONCE = InternalTopic("app-n-changelog", "changelog", 2, "n", uncompacted=1000)
GOOD = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@pytest.mark.parametrize("topic", [REPARTITION, CHANGELOG, AT_LEAST_ONCE])
def test_topics_that_tidemill_creates_are_valid(topic: InternalTopic) -> None:
    assert misfits(topic, topic.config) is None


@pytest.mark.parametrize(
    ("topic", "found", "added"),
    [
        (REPARTITION, {**GOOD, "retention.ms": "3600000"}, "retention.ms=-1"),
        (REPARTITION, {**GOOD, "retention.bytes": "10"}, "retention.bytes=-1"),
        (REPARTITION, {**GOOD, "message.timestamp.type": "LogAppendTime"}, "message.timestamp.type=CreateTime"),
        (
            REPARTITION,
            {**GOOD, "cleanup.policy": "compact", "retention.ms": "1"},
            "cleanup.policy=delete,retention.ms=-1",
        ),
        (CHANGELOG, {"cleanup.policy": "compact,delete"}, "cleanup.policy=compact"),
        (AT_LEAST_ONCE, {"cleanup.policy": "compact", "min.compaction.lag.ms": "999"}, "min.compaction.lag.ms=1000"),
    ],
)
def test_a_setting_that_loses_records_is_named_with_the_command(
    topic: InternalTopic, found: dict[str, str], added: str
) -> None:
    said = misfits(topic, found) or ""
    assert f"the {topic.kind} topic {topic.name!r} has " in said
    assert said.endswith(f"--entity-name {topic.name} --add-config {added}`")


@pytest.mark.parametrize("topic", [REPARTITION, CHANGELOG])
def test_internal_topics_take_any_event_time(topic: InternalTopic) -> None:
    assert topic.config.items() >= ANY_TIME.items()
    assert bounds_of_time(topic, topic.config) == {}
    assert bounds_of_time(topic, {**ANY_TIME, "message.timestamp.after.max.ms": "3600000"}) == {
        "message.timestamp.after.max.ms": str((1 << 63) - 1)
    }
    assert bounds_of_time(topic, {"cleanup.policy": "delete"}) == {}, "a broker without the settings has no bound"


def test_a_longer_lag_of_compaction_will_do() -> None:
    found = {"cleanup.policy": "compact", "min.compaction.lag.ms": "5000"}
    assert misfits(AT_LEAST_ONCE, found) is None
    assert misfits(CHANGELOG, found) is None


def test_an_output_that_takes_less_than_is_sent() -> None:
    assert too_small("out", {"max.message.bytes": "1048588"}, 1_000_000) is None
    assert too_small("out", {}, 1_000_000) is None
    assert "of up to 999 bytes" in (too_small("out", {"max.message.bytes": "999"}, 1000) or "")


def test_absent_topics_are_named_by_their_kinds() -> None:
    kinds = {"a": "input", "b": "input", "c": "output"}
    assert absent(kinds, ["b", "a"], 2000).startswith("the input topic 'a, b' does not exist, after waiting 2s. ")
    assert absent(kinds, ["c"], 2000).startswith("the output topic 'c' does not exist, after waiting 2s. ")
    assert "the input topic 'a' does not exist, after waiting 2s, nor does the output topic 'c'." in absent(
        kinds, ["a", "c"], 2000
    )
