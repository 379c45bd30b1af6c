"""The right answers of the jobs with sessions, sliding windows and a join, by other means than in `bench.answers`."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from bench.answers import GAP, SLIDE, WITHIN, pairs, sessions, sliding
from bench.events import BASE_TIME, Shape, events, expected
from bench.verify import Output, Wrong, verify

SHAPE = Shape(records=5_000, keys=50)
CROWDED = Shape(600, keys=3)
"""So few users that their records share windows, sessions and pairs."""


def sent_by_user() -> dict[str, list[tuple[int, int, str]]]:
    """The time, cents and kind of each record, by user, as they are sent."""
    rows: dict[str, list[tuple[int, int, str]]] = {}
    for _, value, timestamp in events(CROWDED):
        event = orjson.loads(value)
        time = BASE_TIME + (timestamp - BASE_TIME) * 6_000  # as far apart as those of many users
        rows.setdefault(event["user"], []).append((time, round(event["amount"] * 100), event["kind"]))
    return rows


def numbered() -> Iterator[tuple[int, int, int]]:
    for user, rows in sent_by_user().items():
        for time, cents, _ in rows:
            yield int(user.removeprefix("user-")), time, cents


def test_sessions_are_the_groups_of_records_without_a_gap() -> None:
    """A record joins and connects sessions one by one, where the answer goes through all in order of time."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for user, rows in sent_by_user().items():
        open_ones: list[tuple[int, int, int, int]] = []
        for time, cents, _ in rows:
            near = [one for one in open_ones if one[0] - GAP <= time <= one[1] + GAP]
            open_ones = [one for one in open_ones if one not in near]
            start, end = min([time, *(one[0] for one in near)]), max([time, *(one[1] for one in near)])
            open_ones.append((start, end, 1 + sum(one[2] for one in near), cents + sum(one[3] for one in near)))
        for start, _, count, cents in open_ones:
            found[int(user.removeprefix("user-")), start] = (count, cents)
    assert sessions(numbered()) == found
    assert 1 < len(found) < CROWDED.records


def test_sliding_windows_are_the_sets_of_records_that_are_near_enough() -> None:
    """No two windows have the same records, and each set of records that one moment sees has a window."""
    found = sliding(numbered())
    for user, rows in sent_by_user().items():
        number = int(user.removeprefix("user-"))
        times = [time for time, _, _ in rows]
        moments = {edge + step for time in times for edge in (time, time - SLIDE) for step in (-1, 0, 1)}
        inside = [tuple(place for place, time in enumerate(times) if at <= time <= at + SLIDE) for at in moments]
        sets = {places for places in inside if places}
        windows = {place: row for place, row in found.items() if place[0] == number}
        assert len(windows) >= len(sets)
        wanted = {(len(places), sum(rows[place][1] for place in places)) for places in sets}
        assert set(windows.values()) == wanted


def test_pairs_are_all_views_and_purchases_that_are_near_enough() -> None:
    of_kind = [
        [
            (int(user[5:]), time, cents)
            for user, rows in sent_by_user().items()
            for time, cents, kind in rows
            if kind == name
        ]
        for name in ("view", "buy")
    ]
    near = [
        cents
        for user, time, cents in of_kind[1]
        for viewer, viewed, _ in of_kind[0]
        if viewer == user and abs(viewed - time) <= WITHIN
    ]
    assert pairs(*of_kind) == (len(near), sum(near))
    assert near


def outputs_of_windows(job: str) -> list[Output]:
    """What a right engine may write, with a session that another one replaces."""
    size = 16 if job == "J5" else 8
    right = expected(SHAPE, job)
    rows = [
        (user.encode() + start.to_bytes(size, "big"), orjson.dumps({"count": count, "total": cents / 100}))
        for (user, start), (count, cents) in right.totals.items()
    ]
    gone = rows[0][0][:-16] + (1).to_bytes(16, "big")
    return [(gone, rows[0][1]), (gone, b"null"), *rows] if job == "J5" else [*rows, rows[0]]


@pytest.mark.parametrize("job", ["J5", "J6"])
def test_the_last_output_of_each_window_must_be_right(job: str) -> None:
    right, good = expected(SHAPE, job), outputs_of_windows(job)
    assert verify(good, job, right, every=False) == len(good)
    key, value = good[-1]
    row = orjson.loads(value)
    for bad in (
        good[1:-1],  # lost
        [*good, (key, orjson.dumps({**row, "count": row["count"] + 1}))],  # a wrong figure
        [*good, (key, b"null")],  # deleted
        [*good, (b"user-x" + key[-16:], value)],  # a window too many
    ):
        with pytest.raises(Wrong):
            verify(bad, job, right, every=False)


def test_a_pair_that_is_lost_or_too_far_apart_is_wrong() -> None:
    shape = Shape(records=500, keys=2)
    rows = [orjson.loads(value) for _, value, _ in events(shape)]
    good = [
        (buy["user"].encode(), orjson.dumps({**buy, "viewed": view["ts"], "bought": buy["ts"]}))
        for view in rows
        for buy in rows
        if (view["kind"], buy["kind"], view["user"]) == ("view", "buy", buy["user"])
        and abs(view["ts"] - buy["ts"]) <= WITHIN
    ]
    right = expected(shape, "J7")
    assert verify(good, "J7", right, every=True) == right.outputs
    key, value = good[-1]
    far = orjson.dumps({**orjson.loads(value), "viewed": 0})
    for bad in (good[:-1], [*good, good[-1]], [*good[:-1], (key, far)], [*good[:-1], (b"user-x", value)]):
        with pytest.raises(Wrong):
            verify(bad, "J7", right, every=True)
