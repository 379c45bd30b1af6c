"""Tests of load balancing: from any placement to an even one, by moves that each lower the imbalance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.assignment.balance import LoadDistribution, WeightedTask

TINY = 1e-6


def board(items: list[WeightedTask], members: int, places: list[int], least: float = TINY) -> LoadDistribution:
    made = LoadDistribution(items, members, least)
    for item, member in enumerate(places):
        made.put(item, member)
    return made


def loads(items: list[WeightedTask], place: list[int], members: int, part: int | None = None) -> list[int]:
    return [
        sum(item.weight for item, at in zip(items, place, strict=True) if at == m and part in (None, item.subtopology))
        for m in range(members)
    ]


@given(st.data(), st.integers(1, 6), st.integers(1, 4))
@examples(300)
def test_equal_items_become_even_from_any_placement(data: st.DataObject, members: int, parts: int) -> None:
    everyone = range(members)
    items = [
        WeightedTask(data.draw(st.integers(0, parts - 1)), 1, everyone) for _ in range(data.draw(st.integers(0, 30)))
    ]
    places = [data.draw(st.integers(0, members - 1)) for _ in items]
    made = board(items, members, places)
    made.improve(1000)
    for part in (None, *range(parts)):
        spread = loads(items, made.place, members, part)
        assert max(spread) - min(spread) <= 1, (part, spread)
    moved = sum(a != b for a, b in zip(places, made.place, strict=True))
    assert moved <= len(items)


@given(st.data(), st.integers(2, 5))
@examples(200)
def test_every_move_lowers_the_potential_and_a_balanced_placement_is_stable(data: st.DataObject, members: int) -> None:
    everyone = range(members)
    items = [
        WeightedTask(data.draw(st.integers(0, 2)), data.draw(st.sampled_from([1, 2, 3, 8, 24])), everyone)
        for _ in range(data.draw(st.integers(1, 20)))
    ]
    made = board(items, members, [data.draw(st.integers(0, members - 1)) for _ in items])

    def potential() -> int:
        return sum(load * load for part in (None, 0, 1, 2) for load in loads(items, made.place, members, part))

    last = potential()
    for _ in range(200):
        before = list(made.place)
        made.improve(1)
        if made.place == before:
            break
        assert potential() < last
        last = potential()
    else:
        raise AssertionError("no rest after 200 steps")


def test_parts_are_evened_out_by_an_exchange_where_no_single_move_helps() -> None:
    items = [
        WeightedTask(0, 1, range(2)),
        WeightedTask(0, 1, range(2)),
        WeightedTask(1, 1, range(2)),
        WeightedTask(1, 1, range(2)),
    ]
    made = board(items, 2, [0, 0, 1, 1])
    made.improve(10)
    assert loads(items, made.place, 2, 0) == loads(items, made.place, 2, 1) == [1, 1]


def test_a_small_gain_moves_nothing() -> None:
    items = [WeightedTask(0, 1, range(2)) for _ in range(202)]
    start = [0] * 103 + [1] * 99
    made = board(items, 2, start, least=0.1)
    made.improve(100)
    assert made.place == start
    made = board(items, 2, start)
    made.improve(100)
    assert loads(items, made.place, 2) == [101, 101]


def test_items_are_moved_to_preferred_members() -> None:
    items = [WeightedTask(0, 1, range(2), bias={item % 2: 10.0}) for item in range(8)]
    made = board(items, 2, [(item + 1) % 2 for item in range(8)])
    made.improve(100)
    assert made.place == [item % 2 for item in range(8)]


def test_items_that_prefer_each_others_member_are_exchanged() -> None:
    """Loads are even, so that no move and no swap of loads would do it."""
    likes = [{item % 3: 1.5} for item in range(12)]
    items = [WeightedTask(0, 1, range(3), bias=like) for like in likes]
    made = board(items, 3, [(item // 4) for item in range(12)])
    made.improve(100)
    assert made.place == [item % 3 for item in range(12)]


@given(st.data(), st.integers(2, 5))
@examples(150)
def test_preferences_never_cost_more_balance_than_their_value(data: st.DataObject, members: int) -> None:
    """From any placement, with items of one weight that are each liked by some: it ends, and what is then liked better
    elsewhere could only go there for a load that outweighs it."""
    liking = 2.0
    items = [
        WeightedTask(0, 1, range(members), bias=dict.fromkeys(data.draw(st.sets(st.integers(0, members - 1))), liking))
        for _ in range(data.draw(st.integers(1, 16)))
    ]
    made = board(items, members, [data.draw(st.integers(0, members - 1)) for _ in items])
    made.improve(1000)
    place = list(made.place)
    made.improve(1000)
    assert made.place == place, "it does not terminate"
    spread = loads(items, place, members)
    for item, at in zip(items, place, strict=True):
        for better in item.bias:
            if at not in item.bias:
                assert 2 * (spread[at] - spread[better]) + liking - 2 <= 1e-3, (place, item)


def test_of_equal_moves_the_nearest_is_made() -> None:
    items = [WeightedTask(0, 1, range(3), near={2: 0} if item == 3 else {}) for item in range(6)]
    made = board(items, 3, [0, 0, 0, 0, 1, 1])
    made.improve(1)
    assert made.place[3] == 2


def test_pinned_items_count_and_stay() -> None:
    items = [WeightedTask(0, 1, range(2), pinned=True) for _ in range(4)] + [
        WeightedTask(0, 1, range(2)) for _ in range(4)
    ]
    made = board(items, 2, [0] * 8)
    made.improve(100)
    assert made.place[:4] == [0] * 4
    assert loads(items, made.place, 2) == [4, 4]


def test_only_allowed_places_are_taken() -> None:
    items = [WeightedTask(0, 1, (0, 1)) for _ in range(6)] + [WeightedTask(1, 1, (0, 1, 2)) for _ in range(3)]
    made = board(items, 3, [0] * 9)
    made.improve(100)
    spread = loads(items, made.place, 3)
    assert max(spread) - min(spread) <= 2, spread
    assert all(at in item.allowed for item, at in zip(items, made.place, strict=True))
