"""Tests of the changes of topics that a running program detects."""

from __future__ import annotations

import re

import pytest

import tidemill as tm
from tidemill.engine.errors import Fatal
from tidemill.engine.plan.partition_growth import matches_of
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.topics.changes import gone_for_good, kinds_of, refuse_others


def running() -> Plan:
    app = tm.App("shop")
    lines = app.stream("orders", key=tm.utf8, value=tm.utf8).merge(
        app.stream(tm.pattern("log-.*"), key=tm.utf8, value=tm.utf8)
    )
    lines.group_by(lambda v: v, key=tm.utf8).aggregate(n=tm.count()).named("n").to("counts", value=tm.json)
    cut = partition(app.topology())
    counts = {"orders": 2, "log-a": 2, "counts": 1}
    return plan(cut, "shop", counts, matches_of(cut, "shop", counts))


KINDS = {
    "orders": "input",
    "log-a": "matched",
    "counts": "output",
    "shop-n-repartition": "repartition",
    "shop-n-changelog": "changelog",
}


def test_every_topic_of_a_program_has_a_kind() -> None:
    assert kinds_of(running()) == KINDS


@pytest.mark.parametrize("topic", KINDS)
def test_only_the_topic_of_a_pattern_may_be_gone(topic: str) -> None:
    if topic == "log-a":
        assert gone_for_good(running(), [topic], {}) == {topic}
        return
    with pytest.raises(Fatal, match=f"the {KINDS[topic]} topic '{topic}' \\(id old\\) does not exist any more"):
        gone_for_good(running(), ["log-a", topic], {topic: "old"})


@pytest.mark.parametrize("topic", KINDS)
def test_what_is_stored_of_a_topic_belongs_to_its_id(topic: str) -> None:
    before = dict.fromkeys(KINDS, "old")
    assert refuse_others(running(), before, before) == frozenset()
    assert refuse_others(running(), {}, before) == frozenset()
    now = {**before, topic: "new"}
    if KINDS[topic] in ("matched", "output"):
        assert refuse_others(running(), before, now) == ({topic} if topic == "log-a" else set())
        return
    with pytest.raises(Fatal, match=f"the {KINDS[topic]} topic '{topic}' was deleted and created again") as caught:
        refuse_others(running(), before, now)
    said = str(caught.value)
    assert re.search("id old.*id new", said)
    assert "`tidemill reset shop`" in said
    assert f"`tidemill reset shop --topic {topic}`" in said


def test_a_pattern_does_not_match_what_the_application_makes_for_itself() -> None:
    app = tm.App("shop")
    app.stream(tm.pattern("shop-.*"), key=tm.utf8, value=tm.utf8).to("out")
    names = ["shop-in", "shop-n-changelog", "shop-old-step-repartition", "shop-changelogs", "shopping-n-changelog"]
    assert matches_of(partition(app.topology()), "shop", names) == {"shop-.*": ("shop-changelogs", "shop-in")}
