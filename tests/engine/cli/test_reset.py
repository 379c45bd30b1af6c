"""Tests of `tidemill reset`: it removes the internal topics of the application, and no others."""

from __future__ import annotations

from pathlib import Path

import tidemill as tm
from tidemill.engine.cli.reset import ResetPlan, by_name, by_program, describe_removal, one_topic, store_of
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.tasks.store_schemas import unlisted_stores
from tidemill.engine.tasks.topic_ids import TopicIds, id_in, lost_store

TOPICS = [
    "shop-a-changelog",
    "shop-by-user-repartition",
    "shop-out",
    "shop",
    "shopping-a-changelog",
    "shop-eu-a-changelog",
    "other-a-changelog",
]


def test_by_the_form_of_names() -> None:
    assert by_name("shop", TOPICS, []).topics == (
        "shop-a-changelog",
        "shop-by-user-repartition",
        "shop-eu-a-changelog",
    )


def test_what_may_be_of_a_longer_name_is_left() -> None:
    removal = by_name("shop", TOPICS, ["shop", "shop-eu", "shop-", "other"])
    assert removal.left == ("shop-eu-a-changelog",)
    assert removal.topics == ("shop-a-changelog", "shop-by-user-repartition")


def test_by_the_program_it_is_what_the_program_makes() -> None:
    app = tm.App("shop")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    views.group_by(lambda v: v["user"]).count().named("per-user").to("counts", key=tm.utf8, value=tm.json)
    topology = app.topology()
    made = [topic.name for topic in plan(partition(topology), "shop", {"views": 3}).internal]
    assert made
    assert by_program("shop", topology, [*made, *TOPICS]) == ResetPlan(tuple(sorted(made)))
    assert by_program("shop", topology, TOPICS) == ResetPlan(())


def test_everything_to_be_removed_is_listed_first() -> None:
    removal = ResetPlan(("shop-a-changelog",), ("shop-eu-a-changelog",))
    assert describe_removal("shop", 8, removal, [Path("s/shop/worker-0")]) == [
        "delete the group 'shop' with 8 committed offsets",
        "delete the topic shop-a-changelog",
        "remove the directory s/shop/worker-0",
        "leave the topic shop-eu-a-changelog: it may belong to another application",
    ]
    assert describe_removal("shop", 0, ResetPlan(()), []) == []


def test_one_input_is_read_from_its_start_and_the_rest_stays() -> None:
    old = TopicIds({"views": "old", "shop-n-changelog": "log"}, {"n": "shop-n-changelog"})
    committed = {
        ("views", 0): (20, "t=7;n=7;a=1" + old.metadata("views")),
        ("views", 2): (3, "t=5" + old.metadata("views")),
        ("users", 0): (4, "t=6"),
    }
    begins = {("views", 0): 0, ("views", 1): 2}
    offsets = one_topic("shop", "views", committed, begins, "new")
    assert {key: offset for key, (offset, _) in offsets.items()} == begins
    assert {id_in(metadata) for _, metadata in offsets.values()} == {"new"}
    assert offsets["views", 0][1].startswith("t=7;c="), "the watermark of the task is kept, like its state"
    assert one_topic("shop", "other", committed, {("other", 0): 0}, "new") == {}


def test_one_changelog_is_accepted_as_it_is() -> None:
    stores = {"n": "shop-n-changelog", "m": "shop-m-changelog"}
    old = TopicIds({"views": "in", **dict.fromkeys(stores.values(), "old")}, stores)
    committed = {("views", 0): (20, "t=7" + old.metadata("views")), ("users", 0): (4, "t=6")}
    now = {**old.ids, "shop-n-changelog": "new"}
    assert lost_store(committed["views", 0][1], stores, now) == "n"
    offsets = one_topic("shop", "shop-n-changelog", committed, {}, "new")
    assert [(key, offset) for key, (offset, _) in offsets.items()] == [(("views", 0), 20)]
    [(_, metadata)] = offsets.values()
    assert lost_store(metadata, stores, now) is None
    assert lost_store(metadata, stores, {**now, "shop-m-changelog": "new"}) == "m"
    assert id_in(metadata) == "in"


def test_a_changelog_of_a_store_that_was_not_there_is_accepted() -> None:
    old = TopicIds({"views": "in", "shop-n-changelog": "old"}, {"n": "shop-n-changelog"})
    committed = {("views", 0): (20, "t=7" + old.metadata("views")), ("users", 0): (4, "t=6")}
    [(key, (offset, metadata))] = one_topic("shop", "shop-m-changelog", committed, {}, "new").items()
    assert (key, offset) == (("views", 0), 20)
    assert unlisted_stores(["n", "m", "o"], [metadata]) == {"o"}
    assert one_topic("shop", "shop-m-changelog", {key: (offset, metadata)}, {}, "new") == {}


def test_the_store_of_a_changelog() -> None:
    assert store_of("shop", "shop-n-changelog") == "n"
    assert [store_of("shop", topic) for topic in ("shop-n-repartition", "eu-n-changelog", "n", "shop-changelog")] == [
        ""
    ] * 4
