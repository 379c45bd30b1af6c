"""Tests of topic ids in the metadata of offsets, including old formats."""

from __future__ import annotations

import pytest

from tidemill.engine.tasks.topic_ids import MOST_STORES, TopicIds, id_in, lost_store
from tidemill.engine.watermarks.watermarks import InputProgress, seen_in


def test_ids_go_beside_what_was_there() -> None:
    ids = TopicIds({"in": "Wq-1_w", "log": "abc"}, {"n": "log"})
    metadata = f"t=12;{InputProgress(5, 9)}" + ids.metadata("in")
    assert id_in(metadata) == "Wq-1_w"
    assert seen_in(metadata) == InputProgress(5, 9)
    assert lost_store(metadata, {"n": "log"}, {"log": "abc"}) is None
    assert lost_store(metadata, {"n": "log"}, {"log": "abd"}) == "n"
    assert lost_store(metadata, {"new": "log2"}, {"log2": "x"}) is None, "a step that was added has a new changelog"


@pytest.mark.parametrize("metadata", ["", "t=5", "t=5;n=1;a=2", "someone else's", ";;="])
def test_metadata_without_ids_says_nothing(metadata: str) -> None:
    assert id_in(metadata) == ""
    assert lost_store(metadata, {"n": "log"}, {"log": "abc"}) is None


def test_brokers_without_ids_change_nothing() -> None:
    assert TopicIds({"in": "", "log": ""}, {"n": "log"}).metadata("in") == ""


def test_many_stores_fit_into_what_kafka_takes() -> None:
    stores = {f"s{number}": f"app-s{number}-changelog" for number in range(MOST_STORES * 2)}
    ids = TopicIds(dict.fromkeys(["in", *stores.values()], "x" * 22), stores)
    assert len(ids.metadata("in")) < 4000
