"""RecordError: what it says and what it keeps."""

from __future__ import annotations

import pytest

from tidemill.operators.errors import RecordError
from tidemill.operators.record import Record


def raised(cause: Exception | None = None, **more: str) -> RecordError:
    record = Record("u1", {"amount": None}, 1_000, offset=42)
    with pytest.raises(RecordError) as caught:
        raise RecordError("totals", 3, record, ["done"], **more) from cause
    return caught.value


def test_it_says_what_where_and_what_to_do() -> None:
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
