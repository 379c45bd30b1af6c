"""Test the verifier: it must accept correct results and detect each injected fault. Needs no broker."""

from __future__ import annotations

import random

import pytest

from . import check, feed
from .check import Replay, Row, Span


def rows(count: int = 200, partitions: int = 3, seed: int = 1) -> list[Row]:
    """Return an input with unique values and few keys, each key in one partition."""
    inputs = feed.Inputs(seed, keys=12)
    ends = [0] * partitions
    result: list[Row] = []
    for _ in range(count):
        key, value = inputs.next()
        partition = key[-1] % partitions
        result.append(Row(partition, ends[partition], key, value))
        ends[partition] += 1
    return result


def renumbered(result: list[Row]) -> list[Row]:
    """Return the rows with the offsets that they have in a topic."""
    ends: dict[int, int] = {}
    fresh: list[Row] = []
    for row in result:
        offset = ends[row.partition] = ends.get(row.partition, -1) + 1
        fresh.append(row._replace(offset=offset))
    return fresh


def neighbours(expected: list[Row]) -> tuple[int, int]:
    """Return the indices of two consecutive rows of partition 0."""
    mine = [at for at, row in enumerate(expected) if row.partition == 0]
    return mine[20], mine[21]


def rekeyed(result: list[Row]) -> list[Row]:
    return [row._replace(key=row.value % 7) for row in result]


def repartitioned(result: list[Row]) -> list[Row]:
    """Return a repartition topic of two partitions: input partitions randomly interleaved, each in order."""
    chance = random.Random(5)
    queues = [[row for row in result if row.partition == number] for number in range(3)]
    output: list[Row] = []
    while any(queues):
        row = chance.choice([queue for queue in queues if queue]).pop(0)
        output.append(row._replace(partition=row.key % 2))
    return renumbered(output)


@pytest.mark.parametrize("fold", [check.smallest, check.largest, check.total, check.number, check.newest])
def test_correct_output_is_accepted(fold: check.Fold) -> None:
    expected = check.running(rows(), fold)
    assert check.exactly_once("out", expected, renumbered(expected)) == []


def test_running_values_are_kept_by_key() -> None:
    given = [Row(0, 0, b"a", 5), Row(0, 1, b"b", 1), Row(0, 2, b"a", 3), Row(1, 0, b"c", 2), Row(0, 3, b"a", 9)]
    assert [row.value for row in check.running(given, check.smallest)] == [5, 1, 3, 2, 3]
    assert [row.value for row in check.running(given, check.largest)] == [5, 1, 5, 2, 9]
    assert [row.value for row in check.running(given, check.total)] == [5, 1, 8, 2, 17]
    assert [row.value for row in check.running(given, check.number)] == [1, 1, 2, 1, 3]
    assert check.final(given, check.total) == {b"a": 17, b"b": 1, b"c": 2}


def test_only_committed_input_is_expected() -> None:
    given = [Row(0, 0, b"a", 5), Row(0, 1, b"b", 1), Row(1, 0, b"c", 2)]
    assert check.up_to(given, {0: 1}) == [given[0]]


def test_a_lost_record_is_found() -> None:
    expected = check.running(rows(), check.total)
    at, _ = neighbours(expected)
    [finding] = check.exactly_once("sum", expected, expected[:at] + expected[at + 1 :])
    assert "sum, partition 0" in finding
    assert "1 lost" in finding
    assert str(expected[at].value) in finding
    assert "place 20" in finding


def test_a_lost_partition_is_found() -> None:
    expected = rows()
    [finding] = check.exactly_once("echo", expected, [row for row in expected if row.partition != 1])
    assert "echo, partition 1" in finding
    assert "0 found" in finding


def test_a_lost_end_is_found() -> None:
    expected = rows()
    assert "1 lost" in check.exactly_once("echo", expected, expected[:-1])[0]


def test_a_duplicated_record_is_found() -> None:
    expected = check.running(rows(), check.total)
    at, _ = neighbours(expected)
    [finding] = check.exactly_once("sum", expected, expected[: at + 1] + expected[at:])
    assert "1 doubled" in finding
    assert "lost" not in finding


def test_two_records_in_the_wrong_order_are_found() -> None:
    expected = rows()
    one, two = neighbours(expected)
    actual = list(expected)
    actual[one], actual[two] = expected[two], expected[one]
    [finding] = check.exactly_once("echo", expected, actual)
    assert "the same records in another order" in finding
    assert "place 20" in finding


def test_a_wrong_running_value_is_found() -> None:
    expected = check.running(rows(), check.total)
    at, _ = neighbours(expected)
    actual = list(expected)
    actual[at] = expected[at]._replace(value=expected[at].value + 1)
    [finding] = check.exactly_once("sum", expected, actual)
    assert "1 never to be expected" in finding


def test_a_record_in_the_wrong_partition_is_found() -> None:
    expected = rows()
    at, _ = neighbours(expected)
    actual = list(expected)
    actual[at] = expected[at]._replace(partition=2)
    assert len(check.exactly_once("echo", expected, actual)) == 2


def test_an_input_that_was_processed_twice_shows_in_the_sum() -> None:
    given = rows()
    at, _ = neighbours(given)
    expected = check.running(given, check.total)
    twice = check.running([*given[:at], given[at - 1], *given[at:]], check.total)
    twice.pop(at)
    assert check.exactly_once("sum", expected, twice)


def test_repeats_are_accepted_with_at_least_once() -> None:
    expected = rows()
    mine = [row for row in expected if row.partition == 0]
    others = [row for row in expected if row.partition != 0]
    back = mine[:30] + mine[10:40] + mine[25:]
    findings, repeated = check.at_least_once("echo", expected, renumbered(others + back))
    assert findings == []
    assert repeated == 20 + 15


def test_a_skip_is_found_with_at_least_once() -> None:
    expected = rows()
    mine = [row for row in expected if row.partition == 0]
    others = [row for row in expected if row.partition != 0]
    for skipping in (mine[1:], mine[:30] + mine[31:], mine[:30] + mine[10:12] + mine[13:], mine[:-1]):
        [finding] = check.at_least_once("echo", expected, others + skipping)[0]
        assert "lost" in finding


def test_an_unexpected_value_is_found_with_at_least_once() -> None:
    expected = rows()
    actual = [expected[0]._replace(value=-1), *expected]
    [finding] = check.at_least_once("echo", expected, actual)[0]
    assert "never to be expected" in finding


def test_values_that_are_not_unique_are_refused_with_at_least_once() -> None:
    with pytest.raises(ValueError, match="are not unique"):
        check.at_least_once("min", [Row(0, 0, b"a", 1), Row(0, 1, b"a", 1)], [])


def test_records_through_a_repartition_are_accepted_in_any_interleaving() -> None:
    expected = rekeyed(rows())
    arrived = repartitioned(expected)
    assert check.through_repartition("last", expected, arrived) == []
    assert check.through_repartition("last", expected, arrived[:-9], arrived[-9:]) == []


def test_faults_after_a_repartition_are_found() -> None:
    expected = rekeyed(rows())
    arrived = repartitioned(expected)
    assert "1 lost" in check.through_repartition("last", expected, arrived[:50] + arrived[51:])[0]
    assert "1 doubled" in check.through_repartition("last", expected, [*arrived, arrived[3]])[0]
    assert "1 doubled" in check.through_repartition("last", expected, arrived, [arrived[-1]])[0]
    foreign = [*arrived, Row(0, 999, 0, -7)]
    assert "1 never to be expected" in check.through_repartition("last", expected, foreign)[0]
    moved = [row._replace(partition=1 - row.partition) if at == 60 else row for at, row in enumerate(arrived)]
    assert any("is in partition" in finding for finding in check.through_repartition("last", expected, moved))
    renamed = [row._replace(key=row.key + 1) if at == 60 else row for at, row in enumerate(arrived)]
    assert any("has key" in finding for finding in check.through_repartition("last", expected, renamed))


def test_a_wrong_order_after_a_repartition_is_found() -> None:
    expected = rekeyed(rows())
    arrived = repartitioned(expected)
    origin = {row.value: row for row in expected}
    one = 40
    two = next(
        at
        for at in range(one + 1, len(arrived))
        if arrived[at].key == arrived[one].key
        and origin[arrived[at].value].partition == origin[arrived[one].value].partition
    )
    swapped = list(arrived)
    swapped[one], swapped[two] = arrived[two], arrived[one]
    assert any("came after" in finding for finding in check.through_repartition("last", expected, swapped))


def test_store_content() -> None:
    want = {b"a": 1, b"b": 2, b"c": 3}
    assert check.same_content("store", want, dict(want)) == []
    assert "missing" in check.same_content("store", want, {b"a": 1, b"b": 2})[0]
    assert "should not be there" in check.same_content("store", want, {**want, b"d": 4})[0]
    assert "(b'b', 2, 7)" in check.same_content("store", want, {**want, b"b": 7})[0]


def test_an_open_transaction_is_found() -> None:
    assert check.no_open_transaction([Span("out", 0, 7, 7)]) == []
    [finding] = check.no_open_transaction([Span("out", 0, 7, 7), Span("out", 1, 5, 9)])
    assert "out, partition 1" in finding
    assert "offset 5 of 9" in finding


def test_a_whole_replay_is_found() -> None:
    tails = [Replay(life, "0_0", 90 if life > 1 else 0, life * 100) for life in range(1, 12)]
    assert check.tails_only(tails) == []
    assert check.tails_only([*tails, Replay(12, "0_0", 290, 1200)]) == []
    [finding] = check.tails_only([*tails, Replay(12, "0_0", 1150, 1200)])
    assert "life 12 replayed 1150 records of task 0_0, of 1200 in all: its last 3 lives wrote 300 offsets" in finding
    assert check.tails_only([*tails, Replay(12, "0_1", 1150, 1200)]) == [], "another task's first life"
    assert 0.1 < check.replayed_share(tails) < 0.2


def test_lives_that_end_at_once_have_nothing_on_disk_yet() -> None:
    lives = [Replay(life, "0_0", 0, life * 100, 0.5 if life > 2 else 9.0) for life in range(1, 8)]
    assert check.tails_only([*lives, Replay(8, "0_0", 600, 800)]) == []
    assert check.tails_only([*lives, Replay(8, "0_0", 801, 800)]) != []


def test_inputs_are_random_and_unique() -> None:
    inputs = feed.Inputs(7, keys=50)
    made = [inputs.next() for _ in range(5000)]
    assert len({value for _, value in made}) == len(made)
    assert len({key for key, _ in made}) == 50
    again = feed.Inputs(7, keys=50)
    assert [again.next() for _ in range(5000)] == made
    assert [value for _, value in made] != sorted(value for _, value in made)
    assert all(feed.decode(feed.encode(value)) == value for _, value in made)
