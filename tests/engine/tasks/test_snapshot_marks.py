"""Tests of the snapshots that committed offsets name: which one is used, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.tasks.snapshot_marks import (
    SnapshotMark,
    check_group,
    committed_mark,
    mark_in,
    refuse_memory_stores,
)
from tidemill.engine.tasks.topic_ids import restarted

IN, MORE = ("in", 0), ("more", 0)


def planned(*, stateful: bool = True, partitions: int = 2, changelogs: bool = False) -> Plan:
    app = tm.App("app")
    both = app.stream("in", key=tm.utf8, value=tm.int64).merge(app.stream("more", key=tm.utf8, value=tm.int64))
    (both.group_by_key().count() if stateful else both).to("out", key=tm.utf8, value=tm.int64)
    return plan(partition(app.topology()), "app", {"in": partitions, "more": partitions}, changelogs=changelogs)


PLAN = planned()
PART = PLAN.subtopologies[0]


def test_without_changelogs_there_are_no_topics_for_them() -> None:
    assert not PART.changelogs
    assert not PLAN.internal
    assert [topic.kind for topic in planned(changelogs=True).internal] == ["changelog"]


@examples(100)
@given(st.integers(0, 9999), st.integers(1, 9999), st.integers(0, 10**12), st.text("0123456789abcdef.-", max_size=60))
def test_a_mark_survives_in_metadata(task: int, partitions: int, number: int, commit: str) -> None:
    mark = SnapshotMark(f"0_{task}", partitions, number, commit)
    metadata = f"t=7;n=1;a=2{mark.metadata};i=abc"
    assert mark_in(metadata) == mark
    assert mark_in(restarted(metadata, "another")) == mark


def test_metadata_without_a_mark_has_none() -> None:
    assert mark_in("") is None
    assert mark_in("t=7;i=abc") is None


def test_the_input_that_was_committed_last_names_the_snapshot() -> None:
    old, new = SnapshotMark("0_0", 2, 7, "p.1-3"), SnapshotMark("0_0", 2, 8, "p.1-4")
    for found in ({IN: old.metadata, MORE: new.metadata}, {IN: new.metadata, MORE: old.metadata}, {MORE: new.metadata}):
        assert committed_mark("0_0", PART, found, changelogs=False) == new


def test_a_task_that_has_committed_nothing_has_no_state() -> None:
    assert committed_mark("0_0", PART, {}, changelogs=False) == SnapshotMark("0_0", 2, 0, "")


def test_steps_with_state_may_be_added_to_a_task_without() -> None:
    before = SnapshotMark("0_1", 3)
    assert committed_mark("0_0", PART, {IN: before.metadata}, changelogs=False) == SnapshotMark("0_0", 2, 0, "")


def test_a_task_without_state_takes_whatever_is_committed() -> None:
    part = planned(stateful=False).subtopologies[0]
    for changelogs in (True, False):
        mark = SnapshotMark("0_0", 2, 7, "p.1-3")
        assert not committed_mark("0_0", part, {IN: mark.metadata}, changelogs=changelogs).commit
        assert not committed_mark("0_0", part, {IN: "t=1"}, changelogs=changelogs).commit


def test_the_durability_cannot_change_silently() -> None:
    mark = SnapshotMark("0_0", 2, 7, "p.1-3")
    with pytest.raises(tm.ConfigError, match=r'durability is "changelog", but .* in snapshots.*tidemill reset'):
        committed_mark("0_0", PART, {IN: mark.metadata}, changelogs=True)
    with pytest.raises(tm.ConfigError, match=r'durability is "snapshot", but .*\'in\', partition 0 names no snapshot'):
        committed_mark("0_0", PART, {IN: "t=7;c=aaaaaaaabbbbbbbb"}, changelogs=False)


def test_state_of_another_task_is_refused() -> None:
    other, own = SnapshotMark("1_0", 2, 9, "p.1-3"), SnapshotMark("0_0", 2, 10, "p.1-4")
    with pytest.raises(tm.TopologyError, match=r"snapshot of task 1_0.*other numbers"):
        committed_mark("0_0", PART, {IN: other.metadata, MORE: own.metadata}, changelogs=False)


def test_partitions_that_were_added_are_found_before_the_start() -> None:
    committed = {("in", 1): SnapshotMark("0_1", 2, 3, "p.1-1").metadata}
    check_group(PLAN, committed)
    with pytest.raises(tm.TopologyError, match="3 partitions now, but the state was built with 2"):
        check_group(planned(partitions=3), committed)


def test_stores_in_memory_are_refused() -> None:
    app = tm.App("app")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().count().named("totals").in_memory()
    app.global_table("rates", key=tm.utf8, value=tm.int64)
    with pytest.raises(tm.TopologyError, match=r"remove \.in_memory\(\) from 'totals'"):
        refuse_memory_stores(app.topology())
    refuse_memory_stores(PLAN.topology)
