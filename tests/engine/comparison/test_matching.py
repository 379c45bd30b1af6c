"""Outputs of two applications are matched by key and timestamp, and judged when both have written theirs."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.comparison.matching import Difference, Output, SinkMatching

KEYS = (b"a", b"b", None)
EVERYTHING = ({0: 1 << 40}, {0: 1 << 40})


def output(offset: int, key: bytes | None, timestamp: int, value: bytes) -> Output:
    return Output(0, offset, key, timestamp, value)


def kinds(one: SinkMatching) -> tuple[int, int, tuple[int, int], int]:
    return one.equal, one.different, one.missing, one.pending


def test_outputs_are_equal_different_or_missing() -> None:
    one = SinkMatching()
    one.add(0, [output(0, b"a", 1, b"x"), output(1, b"a", 2, b"x"), output(2, b"b", 1, b"x")])
    one.add(1, [output(0, b"a", 2, b"y"), output(1, b"a", 1, b"x"), output(2, b"c", 1, b"z")])
    assert kinds(one) == (1, 0, (0, 0), 4)
    one.judge(EVERYTHING)
    assert kinds(one) == (1, 1, (1, 1), 0)
    assert one.examples == {
        "different": [Difference(output(1, b"a", 2, b"x"), output(0, b"a", 2, b"y"))],
        "missing in new": [Difference(output(2, b"b", 1, b"x"), None)],
        "missing in old": [Difference(None, output(2, b"c", 1, b"z"))],
    }


def test_what_was_written_later_waits_for_its_counterpart() -> None:
    one = SinkMatching()
    one.add(0, [output(0, b"a", 1, b"x"), output(1, b"a", 2, b"x")])
    one.judge(({0: 1}, {}))
    assert kinds(one) == (0, 0, (0, 1), 1)
    one.add(1, [output(0, b"a", 2, b"x")])
    assert kinds(one) == (1, 0, (0, 1), 0)


def test_another_partition_and_other_headers_are_differences() -> None:
    one = SinkMatching(most=1)
    first = Output(0, 0, b"a", 1, b"x", (("h", b"1"),))
    one.add(0, [first, output(1, b"b", 1, b"x")])
    one.add(1, [first._replace(headers=()), Output(1, 0, b"b", 1, b"x")])
    one.judge(EVERYTHING)
    assert kinds(one) == (0, 2, (0, 0), 0)
    assert len(one.examples["different"]) == 1


rows = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 2), st.sampled_from([b"x", b"y"])), max_size=12)


@examples(300)
@given(rows, st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_order_and_the_rounds_do_not_matter_for_equal_outputs(
    written: list[tuple[bytes | None, int, bytes]], chance: random.Random, size: int
) -> None:
    shuffled = list(written)
    chance.shuffle(shuffled)
    one, sides = SinkMatching(), ([*written], shuffled)
    for begin in range(0, len(written), size):
        for side in (0, 1):
            rows = enumerate(sides[side][begin : begin + size], start=begin)
            one.add(side, [output(offset, *row) for offset, row in rows])
        one.judge(({0: 0}, {0: 0}))
    one.judge(EVERYTHING)
    assert kinds(one) == (len(written), 0, (0, 0), 0)


@examples(300)
@given(rows, rows)
def test_each_output_is_counted_once(
    old: list[tuple[bytes | None, int, bytes]], new: list[tuple[bytes | None, int, bytes]]
) -> None:
    one = SinkMatching()
    one.add(0, [output(offset, *row) for offset, row in enumerate(old)])
    one.add(1, [output(offset, *row) for offset, row in enumerate(new)])
    one.judge(EVERYTHING)
    equal, different, (in_old, in_new), pending = kinds(one)
    assert equal + different + in_new == len(old)
    assert equal + different + in_old == len(new)
    assert pending == 0
