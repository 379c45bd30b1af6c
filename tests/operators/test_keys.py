"""Tests that keys are compared by their bytes: equality in Python affects no result, at any commit or restart."""

import math
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.operators.serdes.auto import auto, auto_key


class Side(Enum):
    LEFT = 1


JSON = st.sampled_from([1, 1.0, True, 0, 0.0, -0.0, False, "1", 2.5, "a", [1, "a"], [1.0, "a"], {"id": [1]}])
ANY = st.sampled_from([1, 1.0, True, -0.0, Decimal("1.0"), Decimal("1.5"), 1.5, (1, "a"), (True, "a"), Side.LEFT, "1"])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, math.inf, math.nan])


class Seen(tm.Processor):
    times = tm.MapState(object, int)
    last = tm.ValueState(int)

    def process(self, value, ctx):
        self.times[ctx.key] = self.times.get(ctx.key, 0) + 1
        self.last.set(self.times[ctx.key])
        ctx.timer("t", after="1h")
        yield self.last.get()

    def on_timer(self, name, ctx):
        yield -1


STEPS = {
    "count": lambda s, app: s.group_by_key().count(),
    "window": lambda s, app: s.group_by_key().window(tm.tumbling("1s")).count(),
    "session": lambda s, app: s.group_by_key().window(tm.session(gap="5s")).count(),
    "sliding": lambda s, app: s.group_by_key().window(tm.sliding("2s")).count(),
    "processor": lambda s, app: s.process(Seen),
    "table": lambda s, app: s.to_table().join(s.group_by_key().count(), lambda row, count: [row, count]),
    "deduplicate": lambda s, app: s.deduplicate("3s"),
    "regrouped": lambda s, app: s.group_by(lambda v: v).count(),
}


def results(steps, serde, keys, restarts):
    app = tm.App("k", on_error=tm.skip)
    stream = app.stream("in", key=serde, value=serde)
    out = STEPS[steps](stream, app).named("step")
    (out.to_stream() if isinstance(out, tm.Table) else out).map(repr).to("out", value=tm.utf8)
    found = []
    with tm.testing.TopologyDriver(app) as driver:
        for number, key in enumerate(keys):
            driver.send("in", key, key, timestamp=number * 1000)
            for task in driver._tasks.values():
                if restarts == "trimmed":
                    task.trim(0)
                for partition in task.discard() if restarts == "rebuilt" else ():
                    task.caught_up(partition, True)
            found += [(row[0], row[1]) for row in driver.read_bytes("out")]
    return found


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("serde", "keys"), [(tm.json, JSON), (auto, ANY), (auto_key, ANY), (tm.float64, FLOATS)])
def test_results_do_not_depend_on_what_is_in_memory(steps, serde, keys):
    @given(st.lists(keys, max_size=8))
    @examples(12)
    def check(chosen):
        whole = results(steps, serde, chosen, "running on")
        assert results(steps, serde, chosen, "trimmed") == whole
        assert results(steps, serde, chosen, "rebuilt") == whole

    check()


def test_equal_keys_with_different_bytes_are_counted_separately():
    counts = results("count", tm.json, [1, 1.0, True, 1, 1.0, True], "running on")
    assert counts == [(b"1", b"1"), (b"1.0", b"1"), (b"true", b"1"), (b"1", b"2"), (b"1.0", b"2"), (b"true", b"2")]


def test_a_session_made_and_forgotten_within_a_commit_leaves_nothing_to_trim():
    app = tm.App("sessions")
    stream = app.stream("in", key=tm.utf8, value=tm.utf8)
    stream.group_by_key().window(tm.session(gap="1s", grace="0s")).count().named("c").to("out", value=tm.int64)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", "v", timestamp=10_000)
        driver.send("in", "other", "v", timestamp=11_000)  # closes and forgets k's session
        driver.send_all("in", [tm.Record("k", "v", 10_000), tm.Record("other", "v", 11_000)])
        [task] = driver._tasks.values()
        task.trim(1)
        driver.send("in", "k", "v", timestamp=12_000)
        assert driver.read("out")[-1].value == 1
