"""Tests of the descriptions of a program at each stage of its planning."""

from __future__ import annotations

import json
import re

import pytest

import tidemill as tm
from tidemill.engine.plan import description
from tidemill.engine.plan.plan import partition, plan


@pytest.fixture
def app() -> tm.App:
    app = tm.App("shop")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    parts = views.split(big=lambda v: v["n"] > 9, default="small")
    parts["big"].to("big", key=tm.utf8, value=tm.json)
    parts["small"].group_by(lambda v: v["user"]).count().named("per-user").to("counts", key=tm.utf8, value=tm.json)
    return app


def pictures(app: tm.App) -> dict[str, description.TopologyDescription]:
    topology = app.topology()
    cut = partition(topology)
    return {
        "logical": description.logical("shop", topology),
        "partitioned": description.partitioned("shop", cut),
        "physical": description.physical(plan(cut, "shop", {"views": 3})),
    }


def test_text(app: tm.App) -> None:
    shown = {stage: description.as_text(picture) for stage, picture in pictures(app).items()}
    assert "<- topic views" in shown["logical"]
    assert "-> topic counts" in shown["logical"]
    assert "/big" in shown["logical"], "which output of a split a step reads"
    assert "[per-user]" in shown["logical"]
    assert "sub-topology" not in shown["logical"]
    assert "<- an internal topic, written by sub-topology 0" in shown["partitioned"]
    assert "sub-topology 1: 3 tasks, 1_0 to 1_2\n  reads shop-per-user-repartition (3 partitions)" in shown["physical"]
    assert shown["physical"].endswith(
        "internal topics\n"
        "  shop-per-user-repartition (repartition, 3 partitions)\n"
        "  shop-per-user-changelog (changelog, 3 partitions)"
    )
    for text in shown.values():
        assert all(line == line.rstrip() for line in text.split("\n"))


def test_mermaid(app: tm.App) -> None:
    for stage, picture in pictures(app).items():
        chart = description.as_mermaid(picture)
        assert chart.startswith("flowchart LR\n")
        boxes = re.findall(r"^ +(s\d+|t\d+)[\[(]", chart, re.MULTILINE)
        assert len(boxes) == len(set(boxes)), "each is drawn once"
        edges = re.findall(r"^ +(\w+) (?:-->|-- \"\w+\" -->) (\w+)$", chart, re.MULTILINE)
        assert {end for edge in edges for end in edge} == set(boxes), "all are connected, and nothing else"
        assert chart.count("subgraph") == chart.count("end\n") == len(picture.parts), stage
        assert '-- "big" -->' in chart


def test_json(app: tm.App) -> None:
    whole = json.loads(description.as_json(pictures(app)["physical"]))
    assert whole["app"] == "shop"
    assert [part["tasks"] for part in whole["parts"]] == [3, 3]
    assert whole["internal"]["shop-per-user-changelog"] == "changelog, 3 partitions"
    steps = {step["id"]: step for step in whole["steps"]}
    assert all(it["step"] in steps for step in steps.values() for it in step["inputs"])
    assert [step["writes"] for step in steps.values() if step["internal"]] == ["shop-per-user-repartition"]


def test_global_tables_are_outside_of_the_parts(app: tm.App) -> None:
    users = app.global_table("users", key=tm.utf8, value=tm.json)
    app.stream("clicks", key=tm.utf8, value=tm.json).join(users, lambda c, u: u).named("known").to("known")
    topology = app.topology()
    planned = plan(partition(topology), "shop", {"views": 3, "clicks": 2, "users": 7})
    picture = description.physical(planned)
    text = description.as_text(picture)
    assert "global tables, whole in every process\n  users  global table  <- topic users  [users]\n" in text
    assert "<- clicks  <- global table users" in text
    assert "reads users" not in text
    assert "users-changelog" not in text
    chart = description.as_mermaid(picture)
    [box] = re.findall(r"^    (s\d+)\[\"users<br/>global table", chart, re.MULTILINE)
    assert re.search(rf"^    {box} -\.-> s\d+$", chart, re.MULTILINE)
    steps = {step["name"]: step for step in json.loads(description.as_json(picture))["steps"]}
    assert steps["known"]["looks_into"] == ["users"]


def test_a_join_names_the_store_that_it_reads(app: tm.App) -> None:
    users = app.table("users", key=tm.utf8, value=tm.json)
    app.stream("clicks", key=tm.utf8, value=tm.json).join(users, lambda c, u: u).named("known").to("known")
    picture = description.logical("shop", app.topology())
    assert "<- users-to_stream, clicks  <- rows in [users]" in description.as_text(picture)
    chart = description.as_mermaid(picture)
    [table] = re.findall(r"^    (s\d+)\[\"users<br/>table", chart, re.MULTILINE)
    assert re.search(rf"^    {table} -\.-> s\d+$", chart, re.MULTILINE)
    steps = {step["name"]: step for step in json.loads(description.as_json(picture))["steps"]}
    assert (steps["known"]["rows_in"], steps["known"]["looks_into"], steps["known"]["stores"]) == (["users"], [], [])
