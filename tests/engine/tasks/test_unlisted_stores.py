"""Tests of which stores the version had that committed offsets, with metadata of all kinds."""

from __future__ import annotations

import pytest

from tidemill.engine.tasks.prepared_commit import positions_to_commit
from tidemill.engine.tasks.store_schemas import NAME, WORDS, digest, unlisted_stores
from tidemill.engine.tasks.topic_ids import MOST_STORES, TopicIds, accepted, short


def metadata(*stores: str, topic: str = "in", more: str = "") -> str:
    logs = {store: f"app-{store}-changelog" for store in stores}
    return "t=5" + TopicIds(dict.fromkeys([topic, *logs.values()], "id"), logs).metadata(topic) + more


def test_a_store_is_unlisted_if_no_input_lists_it() -> None:
    assert unlisted_stores(["a", "b"], [metadata("a")]) == {"b"}
    assert unlisted_stores(["a", "b"], [metadata("a"), metadata("b")]) == set()
    assert unlisted_stores(["a"], [metadata()]) == {"a"}, "a version without stores"


@pytest.mark.parametrize("unknown", ["", "t=5", "t=5;n=1;a=2", "someone else's", ";;=", "x=savepoint"])
def test_nothing_is_known_of_metadata_without_ids(unknown: str) -> None:
    assert unlisted_stores(["a"], [unknown]) == set()
    assert unlisted_stores(["a"], [metadata("b"), unknown]) == set(), "it may be of a version that had the store"


def test_a_task_without_committed_offsets_takes_what_is_there() -> None:
    assert unlisted_stores(["a"], []) == set()


def test_a_store_that_was_in_another_task_is_listed() -> None:
    assert unlisted_stores(["a", "c"], [metadata("b", more=f";s={short('a')}count by utf8")]) == {"c"}
    short_form = f";z={digest('a', NAME)}{digest('count by utf8', WORDS)}"
    assert unlisted_stores(["a", "c"], [metadata("b", more=short_form)]) == {"c"}


def test_a_list_that_may_be_cut_says_nothing() -> None:
    many = [f"s{number}" for number in range(MOST_STORES)]
    assert unlisted_stores(["a"], [metadata(*many[:-1])]) == {"a"}
    assert unlisted_stores(["a"], [metadata(*many)]) == set()
    pieces = "".join(digest(name, NAME) + digest("shape", WORDS) for name in (*many, *(f"t{n}" for n in range(30))))
    assert unlisted_stores(["a"], [metadata(more=f";z={pieces[:600]}")]) == {"a"}
    assert unlisted_stores(["a"], [metadata(more=f";z={pieces[:996]}")]) == set()


def test_an_accepted_changelog_is_listed() -> None:
    assert unlisted_stores(["a", "b"], [accepted(metadata("b"), "a")]) == set()
    assert unlisted_stores(["a"], [accepted(metadata(), "a")]) == set()
    assert accepted("t=5", "a") == "t=5"


def test_the_first_move_commits_all_inputs() -> None:
    one, other, new = ("in", 0), ("more", 0), ("new", 0)
    committed = {one: 3, other: 5, new: 0}
    assert positions_to_commit(committed, committed, {new}, {one, other}) == {new: 0}, "no version has done anything"
    assert positions_to_commit({**committed, one: 4}, committed, set(), {one, other}) == {one: 4, other: 5}
    assert positions_to_commit({**committed, one: 4}, committed, set(), set()) == {one: 4}
