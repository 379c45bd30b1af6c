"""Random aggregates behind repartition topics have the same results whether their records are combined before or not.

The same records, commits, restores and rollbacks, in both. With one partition, the results come in the same order and
at the same commits, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.random_programs.check import Outcome, Way, cut, differences, restored, rolled_back, run
from tests.random_programs.generate import events_of
from tests.random_programs.program import Line, Program
from tests.random_programs.steps import by
from tests.support.examples import seeds
from tidemill.operators.building import topology_builder

COLUMNS = ["n", "items", "get", "values", "least", "most", "first", "last", "all", "mean", "function", "grown"]
STREAMS = ["s0", "s0", "s0.filter(odd)", "s0.map(grown)", "s0.map(row)", "s0.merge(s1)", "s0.repartition()"]
KEYS = ["tm.utf8", "tm.json", "tm.int64", "tm.float64"]
AFTER = [
    's2.to("out")',
    's2.to_stream().to("out")',
    's2.to_stream().group_by_key().window(tm.tumbling(10, grace=5)).count().to("out")',
    's2.group_by(text, key=tm.utf8).count().to("out")',
    's2.to_stream().group_by(text, key=tm.utf8).emit("commit").count().to("out")',
]
"""What follows shows the time, the order and the old rows."""


WAYS: dict[str, Way] = {"cut": cut, "restored": restored, "rolled back": rolled_back}


@contextmanager
def one_by_one() -> Iterator[None]:
    """No records are combined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topology_builder, "combined_topics", lambda *_: {})
        yield


def program(seed: int) -> Program:
    """An aggregate with results at the commit, and events for it."""
    random = Random(seed)
    key = random.choice(KEYS)
    chosen = " ".join(sorted(random.sample(COLUMNS, random.randint(1, 5))))
    fold = random.choice([".count()", *[f'.aggregate(**columns("{chosen}"))'] * 3])
    other = random.choice(KEYS)
    grouped = random.choice(
        [f"s.group_by({by(other)}, key={other})", f"s.with_key({by(other)}, key={other}).group_by_key()"]
    )
    if random.random() < 0.2:
        grouped = f"s.group_by({by('tm.json')})"
    mark = ", watermark=tm.bounded(5)" if random.random() < 0.3 else ""
    lines = [Line(f"s{at}", f'app.stream("{topic}", key={key}, value=tm.json{mark})') for at, topic in enumerate("ab")]
    lines += [Line("s", random.choice(STREAMS)), Line("s2", f'{grouped}.emit("commit"){fold}.named("s2")')]
    lines += [Line("", random.choice(AFTER))]
    return Program(tuple(lines), tuple(events_of(random, key, lines) + events_of(random, key, lines)))


def found(seed: int, way: Way) -> tuple[Outcome, Outcome]:
    tried = program(seed)
    together = run(tried, way, seed, drops=True)
    with one_by_one():
        assert not any(node.combines for node in tried.app().topology().nodes)
        return run(tried, way, seed, drops=True), together


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", seeds(100, 15))
def test_results_do_not_depend_on_what_is_combined(seed: int, way: str) -> None:
    alone, together = found(seed, WAYS[way])
    assert list(differences(alone, together)) == [], program(seed).text()
