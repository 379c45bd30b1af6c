"""A successor with more partitions that has followed for a while writes what the application would write.

For all programs of the tests whose results are caused by records. Where time causes results, it does not, so those are
refused.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import tidemill as tm
from tests.support.bucket import Bucket
from tests.support.programs import PROGRAMS
from tests.support.resharding import ContinuedDriver, plan_of, resharded
from tests.support.savepoints import saved
from tidemill.engine.resharding.parts import Part, parts_of
from tidemill.engine.resharding.running import refused_while_running
from tidemill.engine.savepoints.description import described
from tidemill.engine.snapshots.savepoint import Savepoint
from tidemill.engine.topics.changes import outputs_of

KEYS = [f"k{number}" for number in range(23)]
ROUND = 2 * len(KEYS)
LEFT_OUT = ("processor", "partition time", "map_async, journal")
"""Programs that write the offsets or the times of input partitions, which are others here; one that takes long."""


def app_of(name: str) -> tm.App:
    app = tm.App("test", on_error=tm.skip)
    PROGRAMS[name](app)
    return app


def fill(driver: tm.testing.TopologyDriver, app: tm.App, begin: int) -> None:
    topics = sorted({topic for source in app.topology().sources for topic in source.topics})
    for number in range(begin, begin + ROUND):
        for topic in topics:
            driver.send(topic, key=KEYS[number % len(KEYS)], value=number * 7 % 13, timestamp=10 + number)


def written(driver: tm.testing.TopologyDriver, app: tm.App) -> Counter[str]:
    return Counter(repr((topic, one)) for topic in sorted(outputs_of(app.topology())) for one in driver.read(topic))


def after_a_switch(app: tm.App, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Return what an application and a successor that has followed it write from some position on."""
    bucket = Bucket()
    with tm.testing.TopologyDriver(app, partitions=2) as old:
        fill(old, app, 0)
        base = saved(old, folder / "worker", bucket)
        made, _ = resharded(bucket, base, plan_of(app, 6), folder, "more")
        with ContinuedDriver(app, 6, bucket, made, folder) as new:
            for driver in (old, new):
                fill(driver, app, ROUND)
                written(driver, app)
                fill(driver, app, 2 * ROUND)
            return written(old, app), written(new, app)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - set(LEFT_OUT)))
def test_a_successor_writes_what_the_application_would(name: str, tmp_path: Path) -> None:
    app = app_of(name)
    if all(node.sends_by == "records" for node in app.topology().nodes):
        found = after_a_switch(app, tmp_path)
        assert found[0] == found[1]


def test_results_that_time_causes_would_be_repeated(tmp_path: Path) -> None:
    app = app_of("windows, on close")
    old, new = after_a_switch(app, tmp_path)
    assert new - old
    problems = refused_while_running(parts(app, 2, 6))
    why = "sends results when time passes, and the time of 6 tasks is another one than that of 2"
    assert any(why in problem for problem in problems)


def test_event_time_by_watermarks_is_the_same_with_more_tasks() -> None:
    app = tm.App("test")
    data = app.stream("in", key=tm.utf8, value=tm.int64, watermark=tm.bounded("1s"))
    windows = data.group_by(str, key=tm.utf8).window(tm.tumbling("1s"))
    windows.emit("close").count().named("closed")
    assert refused_while_running(parts(app, 2, 6)) == []
    windows.emit(tm.every("1s")).count().named("throttled")
    assert len(refused_while_running(parts(app, 2, 6))) == 1


def test_only_numbers_of_partitions_behind_repartitions_can_grow() -> None:
    app = tm.App("test")
    data = app.stream("in", key=tm.utf8, value=tm.int64)
    data.group_by(str, key=tm.utf8).count().named("grouped")
    assert refused_while_running(parts(app, 2, 6)) == []
    assert "6 tasks, and 8 is not a multiple of that" in refused_while_running(parts(app, 6, 8))[0]
    data.group_by_key().count().named("direct")
    assert "reads 'in' and keeps state by key" in refused_while_running(parts(app, 2, 6))[0]


def parts(app: tm.App, old: int, new: int) -> tuple[Part, ...]:
    before = [described(part) for part in plan_of(app, old).subtopologies]
    return parts_of(Savepoint("base", "test", "", "", 0, "", before, [], [], []), plan_of(app, new))
