"""Random joins with tables have the same results whether they read the rows of a table or store them again."""

from __future__ import annotations

from random import Random

import pytest

from tests.random_programs.check import cut, differences, restored, rolled_back, run, storing_again
from tests.random_programs.program import Advance, Event, Line, Program, Send

SEEDS = 60
WAYS = {"cut": cut, "restored": restored, "rolled back": rolled_back}

WAITING = ".map_batch(total, max_size=3, max_wait=50)"
TABLES = [
    "s1.to_table()",
    "s1.filter(odd).to_table()",
    "s1.group_by_key().count()",
    "s1.group_by_key().reduce(added)",
    "s1.group_by_key().aggregate(list, appended)",
    's1.group_by_key().aggregate(**columns("n values last"))',
    "s1.to_table().group_by(text, key=tm.utf8).count()",
    "s1.to_table().to_stream().group_by_key().count()",
    "s1.to_table().filter(odd)",
    "s1.to_table().map(grown)",
    "s1.to_table().suppress(until=7)",
    's1.group_by_key().emit("commit").count()',
    f"s1{WAITING}.to_table()",
    "s1.deduplicate(7).to_table()",
    "s1.repartition().to_table()",
    "s0.to_table()",
    "s0.group_by_key().count()",
    "s0.merge(s1).to_table()",
]
STREAMS = [
    "s0",
    "s0",
    "s0.filter(small)",
    "s0.map(grown)",
    "s0.merge(s1)",
    "s0.repartition()",
    "s0.with_key(text, key=tm.utf8)",
    f"s0{WAITING}",
    "s1",
]


def program(random: Random) -> Program:
    """A join with a table, and events for it."""
    table, stream = random.choice(TABLES), random.choice(STREAMS)
    if random.random() < 0.1:
        table, stream = f"s1{WAITING}.to_table()", f"s0{WAITING}"
    function = random.choice(["paired", "both"])
    kind = random.choice(["inner", "left"])
    joined = f's2.join(t, {function}, how="{kind}")'
    if random.random() < 0.3:
        joined = f's2.to_table().named("left").{"join" if kind == "inner" else "left_join"}(t, {function}, on=text)'
    lines = [Line(f"s{at}", f'app.stream("{topic}", key=tm.utf8, value=tm.json)') for at, topic in enumerate("ab")]
    lines += [Line("t", table), Line("s2", stream), Line("s3", joined), Line("", 's3.to("out")')]
    events: list[Event] = []
    time = 1_000
    for _ in range(random.randint(10, 40)):
        if random.random() < 0.1:
            events.append(Advance(random.choice([30, 60])))
        time += random.choice([0, 0, 1, 5])
        value = None if random.random() < 0.1 else str(random.randint(0, 9)).encode()
        events.append(Send(random.choice("ab"), random.choice([b"k", b"l", b" ", b"m"]), value, time))
    return Program(tuple(lines), tuple(events))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_results_do_not_depend_on_where_the_rows_are(way: str) -> None:
    reading = 0
    for seed in range(SEEDS):
        tried = program(Random(seed))
        reading += any(node.spared for node in tried.app().topology().nodes)
        found = run(tried, WAYS[way], seed, drops=True)
        with storing_again():
            assert not any(node.spared for node in tried.app().topology().nodes)
            again = run(tried, WAYS[way], seed, drops=True)
        assert list(differences(found, again)) == [], (seed, tried.text())
    assert SEEDS / 4 < reading < SEEDS * 3 / 4
