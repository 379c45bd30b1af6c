"""Tests of the choice of the source of a restore, as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tidemill.engine.snapshots.choice import RECORD_BYTES, Changelog, Found, cost, plan_task, worth_asking
from tidemill.engine.snapshots.manifest import Manifest, SnapshotFile
from tidemill.state.store import Position

NOW = 1_700_000_000_000
HOUR = 3_600_000
TASK = ("app", "0_0")
END = 1_000_000
LOGS = [Changelog("a", 0, END, "id-a", shape="count"), Changelog("b", 500, END, "id-b")]
NOTHING = Position()


def at(offset: int, **changes: Any) -> Position:
    """Both stores at an offset, as of an hour ago."""
    whole = Position(
        {"a": offset, "b": offset}, {"in:0@i": 40}, {"a": NOW - HOUR, "b": NOW - HOUR}, {"a": "id-a", "b": "id-b"}
    )
    return msgspec.structs.replace(whole, **changes)


def found(number: int = 1, position: Position | None = None, size: int = 1_000_000, **changes: Any) -> Found:
    manifest = Manifest(
        "app",
        "0_0",
        "1",
        3,
        NOW - HOUR,
        position or at(900_000),
        {"a": "count", "b": ""},
        "t",
        [SnapshotFile("f", size, "x", "p")],
    )
    return Found(number, msgspec.structs.replace(manifest, **changes))


def chosen(local: Position, *snapshots: Found, committed: dict[str, int] | None = None) -> list[int]:
    plans = plan_task(TASK, local, snapshots, LOGS, {"in:0@i": 50} if committed is None else committed, NOW)
    return [plan.found.number for plan in plans]


@pytest.mark.parametrize(
    ("case", "local", "snapshots", "expected"),
    [
        ("no snapshot", NOTHING, [], []),
        ("nothing local", NOTHING, [found(1)], [1]),
        ("the local store is nearly up to date", at(END - 5), [found(1)], []),
        ("the local store is a little behind the snapshot", at(899_999), [found(1)], []),
        ("the local store is far behind", at(1_000), [found(1)], [1]),
        (
            "the cheapest first",
            NOTHING,
            [found(1, at(800_000)), found(2, at(990_000)), found(3, at(700_000))],
            [2, 1, 3],
        ),
        ("a huge one that is little ahead", NOTHING, [found(1, at(900_000)), found(2, at(900_100), 10**9)], [1, 2]),
        ("larger than all of the changelogs", NOTHING, [found(1, size=10**10)], []),
        ("of another task", NOTHING, [found(1, task="0_1")], []),
        ("of another application", NOTHING, [found(1, application="other")], []),
        ("a store was something else", NOTHING, [found(1, stores={"a": "sum", "b": ""})], []),
        ("what a store was is not known", NOTHING, [found(1, stores={})], [1]),
        ("a store that the program had no more", NOTHING, [found(1, stores={"a": "count", "b": "", "c": "x"})], [1]),
        ("the topic was made again", NOTHING, [found(1, at(900_000, topic_ids={"a": "id-a", "b": "old"}))], []),
        ("the topic's id is not known", NOTHING, [found(1, at(900_000, topic_ids={"a": "id-a"}))], []),
        ("ahead of the changelog", NOTHING, [found(1, at(END + 1))], []),
        ("before the changelog's beginning", NOTHING, [found(1, at(-1))], []),
        ("ahead of what is committed", NOTHING, [found(1, at(900_000, inputs={"in:0@i": 51}))], []),
        (
            "older than deletions are kept",
            NOTHING,
            [found(1, at(900_000, complete=dict.fromkeys("ab", NOW - 25 * HOUR)))],
            [],
        ),
        (
            "older, and misses nothing",
            NOTHING,
            [found(1, at(END - 1, complete=dict.fromkeys("ab", NOW - 25 * HOUR)))],
            [1],
        ),
        ("one store of two", NOTHING, [found(1, at(900_000, changelogs={"a": 900_000}))], [1]),
    ],
)
def test_the_table(case: str, local: Position, snapshots: list[Found], expected: list[int]):
    assert chosen(local, *snapshots) == expected, case


def test_a_local_store_that_cannot_be_used_counts_as_none():
    assert chosen(at(END, topic_ids={"a": "old", "b": "old"}), found(1)) == [1]
    assert chosen(at(END, inputs={"in:0@i": 99}), found(1)) == [1]


def test_a_copy_of_which_nothing_is_committed_yet_may_begin_with_any():
    assert chosen(NOTHING, found(1, at(900_000, inputs={"in:0@i": 51})), committed={}) == [1]


def test_what_counts_is_what_is_left_to_read():
    assert cost(NOTHING, LOGS, {}, NOW) == (END + END - 500) * RECORD_BYTES
    assert cost(at(END), LOGS, {}, NOW) == 0
    assert not worth_asking(at(END - 5_000), LOGS, {}, NOW)
    assert worth_asking(at(END - 5_001), LOGS, {}, NOW)
