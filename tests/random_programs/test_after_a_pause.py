"""Test that records are late for a rebuilt step too, after an idle time in which the wall clock advanced time."""

from __future__ import annotations

from random import Random

import pytest

from tests.random_programs.check import differences, one_by_one, rebuilt, restored, run
from tests.random_programs.program import Advance, Event, Line, Program, Send

STEPS = {
    "tumbling": 's0.group_by_key().window(tm.tumbling(10, grace=5)).count().named("s1")',
    "close": 's0.group_by_key().window(tm.tumbling(10)).emit("close").count().named("s1")',
    "sliding": 's0.group_by_key().window(tm.sliding(6)).count().named("s1")',
    "sliding, close": 's0.group_by_key().window(tm.sliding(6, grace=5)).emit("close").count().named("s1")',
    "session": 's0.group_by_key().window(tm.session(gap=4, grace=5)).count().named("s1")',
    "cogroup": (
        "s0.group_by_key().cogroup(appended, (s0.filter(odd).group_by_key(), appended))"
        '.window(tm.tumbling(10, grace=5)).aggregate(list).named("s1")'
    ),
    "join": 's0.join(s0, both, within=3, grace=4, how="outer").named("s1")',
    "timers": 's0.process(Timing).named("s1")',
    "time to live": 's0.process(Forgetting).named("s1")',
    "deduplicate": 's0.deduplicate(7).named("s1")',
    "suppress": 's0.to_table().suppress(until=7).named("s1")',
}
SEEDS = 12


def program(step: str, random: Random) -> Program:
    bound = random.choice([0, 3, 33])
    source = f'app.stream("a", key=tm.utf8, value=tm.json, watermark=tm.bounded({bound}, idle=500))'
    events: list[Event] = []
    time = 1_000
    for _ in range(random.randint(3, 14)):
        if random.random() < 0.3:
            events.append(Advance(random.choice([30, 600, 600])))
            time += random.choice([0, 30, 600])
            continue
        time += random.choice([0, 1, 3, 20])
        value = str(random.randint(0, 9)).encode()
        events.append(Send("a", random.choice([b"k", b"l"]), value, time - random.choice([0, 0, 5, 40])))
    output = Line("", 's1.to("out")') if step != "suppress" else Line("", 's1.to_stream().to("out")')
    return Program((Line("s0", source), Line("s1", STEPS[step]), output), tuple(events))


@pytest.mark.parametrize("step", STEPS)
def test_a_rebuilt_step_has_the_same_time(step: str) -> None:
    for seed in range(SEEDS):
        tried = program(step, Random(f"{step} {seed}"))
        base = run(tried, one_by_one, seed, drops=True)
        found = run(tried, rebuilt, seed, drops=True)
        assert list(differences(base, found)) == [], (seed, tried.text())
        assert list(differences(base, run(tried, restored, seed))) == [], (seed, tried.text())
