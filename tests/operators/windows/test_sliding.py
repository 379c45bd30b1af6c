"""Tests of sliding windows against a slow model: a window per set of a key's records within the time difference."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.operators.windows.sliding import changes, early_changes

SIZE = 5

events = st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 40), st.integers(0, 9)), max_size=20)


def windows_of(records: list[tuple[int, int]]) -> dict[int, list[int]]:
    """From start to values: the windows of one key's records, given as (time, value) in order of processing."""
    starts = {max(time - SIZE, 0) for time, _ in records}
    starts |= {time + 1 for time, _ in records}
    found = {start: [value for time, value in records if start <= time <= start + SIZE] for start in starts}
    return {start: values for start, values in found.items() if values}


@given(events)
def test_there_is_a_window_for_each_set_of_records(given_events: list[tuple[str, int, int]]) -> None:
    """With grace for everything, the windows are those of the definition, whatever the order of the records."""
    app = tm.App("test")
    grouped = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.sliding(SIZE, grace=1_000))
    grouped.aggregate(list, lambda so_far, value: [*so_far, value]).named("w").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for key, time, value in given_events:
            driver.send("a", key, value, time)
        found: dict[str, dict[int, list[int]]] = {}
        for windowed, values in driver.store("w").items():
            assert windowed.end == windowed.start + SIZE
            found.setdefault(windowed.key, {})[windowed.start] = values
        for key in {key for key, _, _ in given_events}:
            records = [(time, value) for name, time, value in given_events if name == key]
            assert {start: sorted(values) for start, values in found[key].items()} == {
                start: sorted(values) for start, values in windows_of(records).items()
            }
        assert driver.dropped == {}


@given(events, st.integers(0, 8))
def test_each_window_is_sent_once_when_it_closes(given_events: list[tuple[str, int, int]], grace: int) -> None:
    app = tm.App("test")
    grouped = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.sliding(SIZE, grace=grace))
    grouped.emit("close").count().named("w").to("out")
    time = -1
    sent: set[Any] = set()
    with tm.testing.TopologyDriver(app) as driver:
        for key, timestamp, value in [*given_events, ("end", 1_000, 0)]:
            driver.send("a", key, value, timestamp)
            before, time = time, max(time, timestamp)
            results = driver.read("out")
            assert [r.key.start for r in results] == sorted(r.key.start for r in results)
            for result in results:
                assert before <= result.key.end + grace < time or before == -1
                assert result.key not in sent
                sent.add(result.key)
        assert [windowed.key for windowed, _ in driver.store("w").items()] == ["end"]


def test_expiry_reads_from_the_front_and_no_further(monkeypatch: Any) -> None:
    """Steps forward in time read what has expired and one entry more, be there ever so many keys."""
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.sliding(10)).count().named("w")
    read = 0
    with tm.testing.TopologyDriver(app) as driver:
        cache = driver._tasks[driver.plan.tasks()[0]].caches["w"]
        scan = type(cache).scan

        def counting(self: Any, *arguments: Any) -> Any:
            nonlocal read
            for entry in scan(self, *arguments):
                read += 1
                yield entry

        monkeypatch.setattr(type(cache), "scan", counting)
        for time in range(0, 2_000, 2):
            driver.send("a", f"k{time % 200}", 1, time)
    assert read < 2_100


def test_a_record_of_a_time_that_was_there_changes_what_it_is_in() -> None:
    windows = [(5, (10, 1)), (11, (12, 1))]
    assert [change[0] for change in changes([windows[0]], 10, 5)] == [5]
    assert [change[0] for change in early_changes([(0, (3, 1))], 3, 5)] == [0]
