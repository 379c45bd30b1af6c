"""Test that restored keys that are equal in Python and differ as bytes stay distinct before any input."""

from __future__ import annotations

import pytest

from tests.random_programs.check import Way, differences, pieces, run
from tests.random_programs.program import Advance, Event, Line, Program, Send
from tests.random_programs.world import World

SOURCE = Line("s0", 'app.stream("a", key=tm.json, value=tm.json)')
SUM = 'group_by_key().aggregate(list, collected).named("s2")'
STEPS = {
    "timers": [Line("s1", 's0.process(Timing).named("s1")')],
    "timers, then a fold": [Line("s1", 's0.process(Timing).named("s1")'), Line("s2", f"s1.{SUM}")],
    "a window that closes": [
        Line("s1", 's0.group_by_key().window(tm.tumbling(10)).emit("close").count().named("s1")'),
        Line("s2", f"s1.to_stream().map_record(unwindowed).{SUM}"),
    ],
    "rows held back": [
        Line("s1", 's0.to_table().suppress(until=7).named("s1")'),
        Line("s2", f"s1.to_stream().{SUM}"),
    ],
    "records that wait for a table": [
        Line("t", 's0.to_table(history=30).named("t")'),
        Line("s1", 's0.join(t, both, as_of=True, how="left", grace=4).named("s1")'),
        Line("s2", f"s1.{SUM}"),
    ],
    "records that wait for a match": [
        Line("s1", 's0.filter(odd).join(s0.filter(small), both, within=3, how="outer").named("s1")'),
        Line("s2", f"s1.{SUM}"),
    ],
}
WAITING = {
    "a batch": [Line("s1", 's0.map_batch(total, max_size=2, max_wait=50).named("s1")'), Line("s2", f"s1.{SUM}")],
    "calls": [Line("s1", 's0.map_async(called, in_flight=2).named("s1")'), Line("s2", f"s1.{SUM}")],
}
KEYS = [b"true", b"1", b"1.0", b"true"]


def ending_with(way: str) -> Way:
    """Each piece ends with a commit, and with what this method of the world does."""

    def each(world: World, program: Program, _random: object) -> None:
        for piece in pieces(program, None):
            for event in piece:
                if isinstance(event, Advance):
                    world.advance(event.ms)
                else:
                    world.send(event.topic, [(event.key, event.value, event.timestamp, None, -1)])
            world.commit()
            getattr(world, way)()

    return each


def program(lines: list[Line], keys: list[bytes]) -> Program:
    events: list[Event] = []
    for number, key in enumerate([*keys, *keys, *keys]):
        events += [Send("a", key, b"%d" % (number % 5), 10 + 3 * number), Advance(9)]
    events += [Send("a", b'"z"', b"1", 1_000), Advance(100)]
    return Program((SOURCE, *lines), tuple(events))


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("first", range(len(KEYS)))
def test_a_restored_step_tells_them_apart(steps: str, first: int) -> None:
    tried = program(STEPS[steps], KEYS[first:] + KEYS[:first])
    base = run(tried, ending_with("trim"), 0)
    assert list(differences(base, run(tried, ending_with("restore"), 0))) == []


@pytest.mark.parametrize("steps", WAITING)
def test_records_that_wait_bring_their_keys(steps: str) -> None:
    """Restored records wait, and are sent with a key that no input has had since."""
    tried = program(WAITING[steps], KEYS)
    events = (Send("a", b"true", b"1", 10), Send("a", b"1", b"2", 12), Send("a", b"1", b"3", 15), Advance(60))
    tried = tried.having(events=(*events, Send("a", b"1", b"4", 17), Advance(60)))
    base = run(tried, ending_with("trim"), 0)
    found = run(tried, ending_with("restore"), 0)
    assert base.stores["s2"]
    assert base.stores["s2"] == found.stores["s2"]
