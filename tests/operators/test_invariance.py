"""Two rules for every operator: where the input is cut into batches changes nothing, and neither does rebuilding every
operator from its store after each batch. Both hold when functions fail and the policy is to skip the record.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.programs import PROGRAMS


class Sent(NamedTuple):
    topic: str
    record: tm.Record[str | None, Any]


class Outcome(NamedTuple):
    outputs: dict[str, list[Any]]
    stores: dict[str, list[Any]]
    drops: dict[Any, int]


values = st.none() | st.integers(0, 14)
inputs = st.lists(
    st.builds(
        Sent,
        st.sampled_from("aab"),
        st.builds(tm.Record, st.sampled_from([None, "k", "l", "m"]), values, st.integers(0, 60)),
    ),
    min_size=1,
    max_size=30,
)


IN_TIME = {"watermark behind a repartition": 3}
"""Programs that tasks upstream tell the time, and their bound: of records that are later than it, and only of those, it
depends on the batches which ones are late (docs/time.md)."""


def in_time(sent: list[Sent], bound: int) -> list[Sent]:
    """The input with no record later than the bound."""
    newest: dict[str, int] = {}
    found: list[Sent] = []
    for item in sent:
        time = max(item.record.timestamp, newest.get(item.topic, 0) - bound)
        newest[item.topic] = max(newest.get(item.topic, 0), time)
        found.append(item._replace(record=msgspec.structs.replace(item.record, timestamp=time)))
    return found


def run(name: str, sent: list[Sent], cuts: set[int], *, rebuild: bool) -> Outcome:
    app = tm.App("test", on_error=tm.skip)
    PROGRAMS[name](app)
    read = {topic for source in app.topology().sources for topic in source.topics}
    with tm.testing.TopologyDriver(app, now=1_000) as driver:
        for batch in batches([item for item in sent if item.topic in read], cuts):
            driver.send_all(batch[0].topic, [item.record for item in batch])
            if rebuild:
                for task in driver._tasks.values():
                    for key in task.discard():
                        task.caught_up(key, True)
        names = [state.spec.name for part in driver.plan.subtopologies for state in part.stores]
        stores = {store: list(driver.store(store).items()) for store in names}
        return Outcome(
            {topic: driver.read_bytes(topic) for topic in sorted(driver._topics.written)}, stores, driver.dropped
        )


def batches(sent: list[Sent], cuts: set[int]) -> list[list[Sent]]:
    """The input in batches: cut at the places given, and between topics."""
    found: list[list[Sent]] = []
    for place, item in enumerate(sent):
        if not found or place in cuts or found[-1][0].topic != item.topic:
            found.append([])
        found[-1].append(item)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
@examples(25)
@given(sent=inputs, cuts=st.sets(st.integers(0, 30)))
def test_cuts_and_rebuilding_change_nothing(name: str, sent: list[Sent], cuts: set[int]) -> None:
    if name in IN_TIME:
        sent = in_time(sent, IN_TIME[name])
    whole = run(name, sent, set(), rebuild=False)
    assert run(name, sent, set(range(len(sent))), rebuild=True) == whole
    assert run(name, sent, cuts, rebuild=False) == whole
    assert run(name, sent, cuts, rebuild=True) == whole
