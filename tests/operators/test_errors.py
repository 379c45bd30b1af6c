"""Tests of RecordError: its message, its attributes, and the record that it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.errors import DeferredError, RecordError, raise_record_error
from tidemill.operators.record import Record


def raised(cause: Exception | None = None, **more: str) -> RecordError:
    record = Record("u1", {"amount": None}, 1_000, offset=42)
    with pytest.raises(RecordError) as caught:
        raise RecordError("totals", 3, record, ["done"], **more) from cause
    return caught.value


def test_the_message_has_the_reason_the_place_and_a_remedy() -> None:
    error = raised(TypeError("no amount\nreally")).at("views", 2, "0_2")
    assert str(error) == (
        "step 'totals' of task 0_2 could not process a record: TypeError: no amount (the record: topic 'views', "
        "partition 2, offset 42, timestamp 1000, key 'u1'). Nothing of this record was committed: correct the function "
        "or the data and start again, and the program goes on from this record"
    )


def test_it_keeps_cause_index_and_output() -> None:
    cause = ValueError()
    error = raised(cause)
    assert error.__cause__ is cause
    assert (error.step, error.index, error.done) == ("totals", 3, ["done"])
    assert (error.offset, error.timestamp, error.key) == (42, 1_000, "u1")
    assert error.reason == "ValueError"
    assert error.at("views", 0) is error


def test_before_its_place_is_known() -> None:
    error = raised(doing="decode")
    assert str(error).startswith("step 'totals' could not decode a record: no reason given (the record: offset 42, ")


def test_long_keys_and_reasons_are_cut() -> None:
    error = RecordError("s", 0, Record("k" * 10_000, None, 0), [])
    error.__cause__ = ValueError("v" * 10_000)
    assert len(str(error)) < 600


@dataclass
class Place:
    name: str


class PlaceSerde:
    def encode(self, value: Place) -> bytes:
        return value.name.encode()

    def decode(self, data: bytes) -> Place:
        return Place(data.decode())


@pytest.mark.parametrize("keyed", [lambda s: s.count(), lambda s: s.window(tm.session(gap="1m")).count()])
def test_a_key_that_cannot_be_kept_is_explained(keyed: Any) -> None:
    app = tm.App("test")
    keyed(app.stream("a", key=PlaceSerde(), value=tm.json).group_by_key())
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(RecordError) as caught:
        driver.send("a", Place("x"), 1)
    assert caught.value.reason == (
        "TypeError: the key is a Place, which can be changed in place, so nothing can be kept under it: use text, a "
        "number, a tuple or a frozen struct as the key"
    )


def test_other_errors_do_not_mention_the_key() -> None:
    error = RecordError("s", 0, Record([1], None, 0), [])
    error.__cause__ = TypeError("unsupported operand")
    assert error.reason == "TypeError: unsupported operand"
    error = RecordError("s", 0, Record("k", None, 0), [])
    error.__cause__ = TypeError("unhashable type: 'list'")
    assert error.reason == "TypeError: unhashable type: 'list'"


def failed(error: Exception, items: list[Any], taken: int) -> RecordError:
    rest: Iterator[Any] = iter(items)
    for _ in range(taken):
        next(rest)
    with pytest.raises(RecordError) as caught:
        raise_record_error(error, "s", ["done"], items, rest)
    return caught.value


@pytest.mark.parametrize("slot", [None, 1])
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_the_record_is_the_last_one_that_the_loop_took(slot: int | None, taken: int) -> None:
    records = [Record("k", value, value) for value in range(3)]
    error = failed(cause := ValueError(), [r if slot is None else (slot, r) for r in records], taken)
    assert (error.step, error.index, error.record, error.done) == ("s", taken - 1, records[taken - 1], ["done"])
    assert error.__cause__ is cause


@pytest.mark.parametrize(("before", "index"), [(True, 0), (False, 1)])
def test_deferred_work_stands_for_itself(before: bool, index: int) -> None:
    """If it comes before the current record, that one is processed again."""
    waiting, cause = Record("w", 7, 5), ValueError("late")
    deferred = DeferredError(waiting, "fire timer 't' for", before_record=before)
    deferred.__cause__ = cause
    error = failed(deferred, [Record("k", value, value) for value in range(3)], 2)
    assert (error.index, error.record, error.doing, error.__cause__) == (index, waiting, deferred.doing, cause)
    with pytest.raises(RecordError, match="could not fire timer 't' for a record: ValueError: late") as caught:
        raise_record_error(deferred, "s", [])
    assert (caught.value.index, caught.value.record) == (-1, waiting)
