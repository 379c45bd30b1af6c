"""Tests of a year of history with one much longer partition: buffered records stay few."""

from __future__ import annotations

import pytest

import tidemill as tm
from tests.support.backlogs import HOUR, START

from ...support.in_memory_group import Crew

HOURS = 365 * 24
KEYS = 4


@pytest.mark.slow
def test_windows_and_buffers_of_a_year_stay_as_small_as_those_of_hours() -> None:
    app = tm.App("year")
    source = app.stream("in", key=tm.utf8, value=tm.int64, watermark=tm.bounded("5m", idle="5s"))
    grouped = source.group_by(lambda value: f"k{value % KEYS}", key=tm.utf8)
    grouped.window(tm.tumbling("1h")).emit("close").count().named("hours").to("out", value=tm.int64)
    crew = Crew(app, 4, 1, 7)
    for number in range(4):
        many = 10 if number == 0 else 1
        times = [START + hour * HOUR + each * (HOUR // many) for hour in range(HOURS) for each in range(many)]
        crew.send("in", [tm.Record("a", at, time) for at, time in enumerate(times)], number)
    most = waiting = 0
    while not crew.drained():
        for _ in range(20):
            crew.step(0)
        for task in crew.processes[0].tasks.values():
            for cache in task.caches.values():
                most = max(most, sum(1 for _ in cache.scan(b"", None)))
            waiting = max(waiting, *task.buffered().values())
    crew.wait(2 * HOUR, 5 * 60_000)
    counts = [value for _, value, _ in crew.read("out", tm.raw, tm.int64)]
    crew.finish()
    assert crew.dropped == {}
    assert (len(counts), sum(counts)) == (HOURS * KEYS, HOURS * 13)
    assert most < KEYS * 48, "windows of two days at most are open"
    assert waiting < 400_000, "bytes wait for the slow partition as for any other"
