"""The topics of a shadow, and the programs that cannot be one."""

from __future__ import annotations

import pytest

import tidemill as tm
from tidemill.engine.plan.shadow_topics import refuse_effects, shadow_topics, waiting_batches_of


def test_a_shadow_topic_is_like_the_output_topic() -> None:
    settings = {"totals": {"max.message.bytes": "2000000", "cleanup.policy": "compact"}}
    small, large = shadow_topics("views-2", {"totals", "seen"}, {"totals": 4, "seen": 2}, settings)
    assert (small.name, small.partitions, "max.message.bytes" in small.config) == ("views-2-seen-shadow", 2, False)
    assert (large.name, large.partitions, large.config["max.message.bytes"]) == ("views-2-totals-shadow", 4, "2000000")
    assert large.config["cleanup.policy"] == "delete"
    [kept] = shadow_topics("views-2", {"totals"}, {"totals": 8, "views-2-totals-shadow": 4}, settings)
    assert kept.partitions == 4


def test_a_program_with_other_effects_cannot_be_a_shadow() -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.utf8)
    views.to("seen")
    refuse_effects("views-2", app.topology())
    views.sink(print).named("printed")
    views.to(lambda record: f"views-{record.key}").named("by-page")
    with pytest.raises(tm.TopologyError) as caught:
        refuse_effects("views-2", app.topology())
    assert "step 'printed' calls a function (sink)" in str(caught.value)
    assert "step 'by-page' chooses its topics by a function" in str(caught.value)


def test_records_that_wait_for_a_batch_are_told() -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    views.map_batch(list, max_size=10).named("at-once").to("a", value=tm.json)
    assert waiting_batches_of(app.topology()) == []
    views.map_batch(list, max_size=10, max_wait="1s").named("scores").to("b", value=tm.json)
    [text] = waiting_batches_of(app.topology())
    assert "in step 'scores' records wait" in text
