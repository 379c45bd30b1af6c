"""Tests of the translation of a savepoint for another application: topics, offsets, metadata, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.savepoints.description import described
from tidemill.engine.savepoints.translation import (
    internal_topics,
    kept_as_in,
    mark_ids,
    partition_counts,
    problems,
    remarks,
    renamed_topic,
    to_commit,
    to_fill,
)
from tidemill.engine.snapshots.savepoint import InFlight, Savepoint, SavepointFile, SavepointInput, SavepointTask
from tidemill.engine.watermarks.records import (
    Mark,
    ProducerState,
    ReceivedMarks,
    UpstreamTasks,
    mark_id,
    mark_row,
    moved,
)

COUNTS = {"views": 2, "other": 1}


def program(*, hop: bool = True, windows: bool = True) -> tm.App:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    pages = views.group_by(lambda view: view["page"], key=tm.utf8)
    totals = pages.count().named("totals")
    if windows:
        pages.window(tm.tumbling("1h")).count().named("hours").to("hours", value=tm.json)
    if hop:
        totals.to_stream().group_by(lambda count: str(count % 10), key=tm.utf8).count().named("digits")
    totals.to("totals", key=tm.utf8, value=tm.json)
    return app


def planned(app_id: str, app: tm.App | None = None, counts: dict[str, int] | None = None) -> Plan:
    return plan(partition((app or program()).topology()), app_id, COUNTS if counts is None else counts)


def repartition(app_id: str, number: int) -> str:
    return sorted(topic.name for topic in planned(app_id).internal if topic.kind == "repartition")[number]


def savepoint(**changes: Any) -> Savepoint:
    """One of the program, with all tasks at offset 7 of each input, and a record in flight."""
    made = planned("views")
    inputs: list[SavepointInput] = []
    for part in made.subtopologies:
        for task in part.tasks():
            for topic, number in part.task_inputs(task.partition):
                marks = ReceivedMarks(UpstreamTasks(mark_id(made.subtopologies[1].name), 1))
                marks.take(Mark(mark_id(made.subtopologies[1].name), 0, 1, 55, ProducerState.LIVE))
                metadata = f"t=9;n=8;a=7;p={marks};i=old-{topic};c=0000000011111111;s=00000000count"
                inputs.append(SavepointInput(topic, number, 7, metadata, f"old-{topic}"))
    flying = [InFlight(repartition("views", 0), 1, 7, 9, [SavepointFile("f", 1, "", 1)])]
    one = Savepoint(
        "s",
        "views",
        "1",
        "a",
        5,
        "exactly_once",
        [described(part) for part in made.subtopologies],
        [SavepointTask(str(task), 3) for task in made.tasks()],
        inputs,
        flying,
    )
    return msgspec.structs.replace(one, **changes)


def found(one: Savepoint, made: Plan, **changes: Any) -> list[str]:
    keys = [(it.topic, it.partition) for it in one.inputs]
    return problems(
        one,
        made,
        changes.get("ids", {"views": "old-views"}),
        changes.get("begins", dict.fromkeys(keys, 0)),
        changes.get("ends", dict.fromkeys(keys, 100)),
    )


def test_internal_topics_get_the_name_of_the_application_and_others_keep_theirs() -> None:
    one = savepoint()
    assert renamed_topic(one, "views-totals-changelog", "blue") == "blue-totals-changelog"
    assert renamed_topic(one, "views", "blue") == "views"
    assert "views-digits-changelog" in internal_topics(one)
    counts = partition_counts(one, {"views": 3, repartition("blue", 0): 9}, "blue")
    assert counts == {"views": 3, repartition("blue", 0): 2, repartition("blue", 1): 2}


def test_offsets_have_the_ids_of_now_and_all_else_of_then() -> None:
    one, made = savepoint(), planned("blue")
    ids = {topic: f"new-{topic}" for part in made.subtopologies for topic in part.topics}
    offsets = to_commit(one, made, ids)
    assert offsets["views", 1][0] == 7
    first = made.subtopologies[1].name
    assert offsets[first, 1][0] == 0
    fields = dict(text.split("=", 1) for text in offsets[first, 1][1].split(";"))
    assert fields["t"] == "9"
    assert fields["s"] == "00000000count"
    assert fields["i"] == f"new-{first}"
    assert fields["c"] != "0000000011111111"
    assert fields["p"].startswith(f"{mark_id(first):x}.55.")
    assert len(offsets) == len(one.inputs)


def test_marks_in_flight_are_those_of_the_renamed_tasks() -> None:
    one = savepoint()
    name = planned("views").subtopologies[1].name
    mark = Mark(mark_id(name), 1, 2, 44, ProducerState.BEHIND)
    headers = mark_row(mark, 0)[3]
    assert headers is not None
    changed = moved(headers, mark_ids(one, "blue"))
    renamed = mark._replace(subtopology=mark_id(planned("blue").subtopologies[1].name))
    assert changed == mark_row(renamed, 0)[3]
    assert moved(headers, {}) == headers


def test_each_store_of_each_task_goes_to_the_changelog_of_its_name() -> None:
    content = to_fill(savepoint(), planned("blue"))
    assert {(one.store, one.partition, one.topic) for one in content} == {
        (store, number, f"blue-{store}-changelog") for store in ("totals", "hours", "digits") for number in range(2)
    }


def test_the_same_program_fits() -> None:
    assert found(savepoint(), planned("blue")) == []
    assert remarks(savepoint(), planned("blue"), ["totals"]) == []


def test_a_renamed_step_gets_the_state_of_its_former_name() -> None:
    one = savepoint()
    app = tm.App("views")
    pages = app.stream("views", key=tm.utf8, value=tm.json).group_by(lambda view: view["page"], key=tm.utf8)
    totals = pages.count().named("sums", was="totals")
    pages.window(tm.tumbling("1h")).count().named("hours").to("hours", value=tm.json)
    totals.to_stream().group_by(lambda count: str(count % 10), key=tm.utf8).count().named("digits")
    totals.to("totals", key=tm.utf8, value=tm.json)
    made = plan(kept_as_in(one, partition(app.topology()), "blue"), "blue", COUNTS)
    assert found(one, made) == []
    assert "blue-totals-changelog" in {topic.name for topic in made.internal}


def test_a_store_that_is_gone_or_something_else_is_refused() -> None:
    [text] = found(savepoint(), planned("blue", program(windows=False)))
    assert "a store 'hours', which the program does not have" in text
    parts = [described(part) for part in planned("views").subtopologies]
    parts[1] = msgspec.structs.replace(parts[1], stores={**parts[1].stores, "totals": "reduce(x)"})
    [text] = found(savepoint(subtopologies=parts), planned("blue"))
    assert "store 'totals' holds 'reduce(x)' in the savepoint" in text


def test_a_store_whose_rows_are_read_in_another_one_is_left_out() -> None:
    """Also if the savepoint is of a version that stored them again."""

    def joined(rows: Callable[[tm.Table[str, Any]], tm.Table[str, Any]]) -> tm.App:
        app = tm.App("views")
        views, users = app.stream("views", key=tm.utf8), app.table("other", key=tm.utf8)
        views.join(rows(users), lambda view, user: user).named("known").to("known")
        return app

    counts = {"views": 2, "other": 2}
    before = planned("views", joined(lambda users: users.filter(bool)), counts)
    now = planned("views", joined(lambda users: users), counts)
    tasks = [SavepointTask(str(task), 3) for task in before.tasks()]
    one = savepoint(
        subtopologies=[described(part) for part in before.subtopologies], tasks=tasks, inputs=[], in_flight=[]
    )
    assert problems(one, now, {}, {}, {}) == []
    assert {content.store for content in to_fill(one, before)} == {"other", "known"}
    assert {content.store for content in to_fill(one, now)} == {"other"}


def test_records_in_flight_without_a_reader_are_refused() -> None:
    flying = [InFlight(repartition("views", 1), 5, 7, 9, [SavepointFile("f", 1, "", 3)])]
    [text] = found(savepoint(in_flight=flying), planned("blue"))
    assert "has 3 records in flight in partition 5" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ids": {}}, "the input topic 'views' does not exist"),
        ({"ids": {"views": "new"}}, "was deleted and created again since the savepoint"),
        ({"begins": {("views", 0): 8}}, "the savepoint is at 7: the records after it are gone"),
        ({"ends": {("views", 1): 6}}, "the savepoint is at 7"),
    ],
)
def test_inputs_must_have_the_records_after_the_savepoint(changes: dict[str, Any], text: str) -> None:
    keys = [(it.topic, it.partition) for it in savepoint().inputs]
    if "begins" in changes:
        changes = {"begins": {**dict.fromkeys(keys, 0), **changes["begins"]}}
    if "ends" in changes:
        changes = {"ends": {**dict.fromkeys(keys, 100), **changes["ends"]}}
    assert any(text in one for one in found(savepoint(), planned("blue"), **changes))


def test_unexpected_differences_are_reported() -> None:
    app = program()
    app.stream("other", key=tm.utf8, value=tm.json).to("sink")
    notes = remarks(savepoint(), planned("blue", app), ["views"])
    assert notes[0] == "topic other is not in the savepoint: it is read from the start of its source"
    assert "topic views is written and read by the program" in notes[1]
