"""Tests that stored values can be decoded: checked when they are written, else it is a record error."""

import math
import uuid
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.operators.joins.temporal_join import BufferedKey, buffered_codec
from tidemill.operators.serdes.auto import auto, auto_key
from tidemill.operators.serdes.base import raw
from tidemill.operators.serdes.classes import _forms
from tidemill.operators.serdes.value_copies import Encoded, Keeper, fresh
from tidemill.operators.stateless.pending import pending_codec
from tidemill.operators.stores.expiring import STREAM_TIME
from tidemill.operators.tables.suppress import SuppressedRow, suppress_codec


@dataclass
class Row:
    n: int = 0
    total: int = 0  # the amounts are floats


def grow(row: Row, value: float) -> Row:
    return Row(row.n + 1, row.total + value)  # type: ignore[arg-type]


def add(total: int, value: float) -> int:
    return total + value  # type: ignore[return-value]


def half(value: float) -> int:
    return 1 if value == 2 else value / 2  # type: ignore[return-value]


class Keep(tm.Processor):
    last = tm.ValueState(str)

    def process(self, value, ctx):
        self.last.set("a\ud800" if value == 2 else str(value))
        yield value


def second_bad(acc, value):
    return {**acc, "x": object()} if value == 2 else {**acc, "y": value}


PROGRAMS = {
    "int64": (lambda s: s.group_by_key().reduce(lambda a, b: b << 62 if b == 2 else b, value=tm.int64), {1, 3}),
    "json": (lambda s: s.group_by_key().reduce(lambda a, b: math.nan if b == 2 else b, value=tm.json), {1, 3}),
    "utf8": (lambda s: s.group_by_key().aggregate("", lambda a, b: "\ud800" if b == 2 else "a", value=tm.utf8), {1, 3}),
    "dict": (lambda s: s.group_by_key().aggregate(dict, second_bad), {1, 3}),
    "windows": (lambda s: s.group_by_key().window(tm.tumbling("1h")).aggregate(dict, second_bad), {1, 3}),
    "sessions": (
        lambda s: (
            s.group_by_key().window(tm.session(gap="1h")).aggregate(dict, second_bad, merge=lambda a, b: {**a, **b})
        ),
        {1, 3},
    ),
    "state": (lambda s: s.process(Keep), {1, 3}),
    "annotated": (lambda s: s.group_by_key().aggregate(0, add), {1, 2, 3}),
    "typed": (lambda s: s.group_by_key().aggregate(Row, grow), {1, 2, 3}),
    "repartition": (lambda s: s.map(half).group_by(lambda v: "all").count(), {2}),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_value_that_a_serde_refuses_is_a_record_error(name, rebuilt):
    build, good = PROGRAMS[name]
    values = [1, 0.5, 2, 3] if name in ("annotated", "typed") else [1, 2, 3]
    app = tm.App("k", on_error=tm.skip)
    out = build(app.stream("in", key=tm.utf8, value=tm.json)).named("step")
    (out.to_stream() if isinstance(out, tm.Table) else out).to("out", value=auto)
    with tm.testing.TopologyDriver(app) as driver:
        for value in values:
            driver.send("in", "k", value, timestamp=1)
            for task in driver._tasks.values():
                for key in task.discard() if rebuilt else ():
                    task.caught_up(key, True)
        assert len(driver.read("out")) == len(good)
        assert sum(driver.dropped.values()) == len(values) - len(good), driver.dropped


def test_under_fail_the_record_is_named():
    app = tm.App("k")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().reduce(lambda a, b: a + b).named("sum")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", 2**62)
        with pytest.raises(tm.RecordError, match=r"step 'sum' of task 0_0 .*int64 cannot write.*partition 0, offset 1"):
            driver.send("in", "k", 2**62)


def test_json_refuses_what_it_does_not_have():
    for value in (math.nan, [1, math.inf], {"a": {"b": -math.inf}}, Row(1, math.nan)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="JSON has no"):
            tm.json.encode(value)
        with pytest.raises(ValueError, match="JSON has no"):
            tm.json.encode_many([1, value])
    assert tm.json.encode({"a": None, "null": 1.5}) == b'{"a":null,"null":1.5}'
    assert tm.json.encode_many([None, "null"]) == [b"null", b'"null"']
    assert tm.json.encode_many([]) == []
    for values in (["a\nb", {"a\n": [1]}], [msgspec.Raw(b"[1,\n2]"), 3], [msgspec.Raw(b"1\n"), msgspec.Raw(b"2")]):
        assert tm.json.encode_many(values) == list(map(tm.json.encode, values))
    with pytest.raises(TypeError, match="uuid writes UUIDs, not str"):
        tm.uuid.encode(untyped(str(uuid.uuid4())))


HEADERS = st.lists(st.tuples(st.sampled_from(["", "trace", "é"]), st.none() | st.binary(max_size=3)), max_size=4).map(
    tuple
)
VALUES = st.none() | st.binary(max_size=3)


@given(HEADERS, VALUES, VALUES, st.integers(0, 253402300799999), st.integers(-1, 9))
def test_records_that_wait_are_read_as_they_were_written(headers, key, value, time, offset):
    record = tm.Record(key, value, time, headers, offset)
    codec = pending_codec(raw, raw)
    assert codec.decode_value(codec.encode_value(record)) == record
    held = SuppressedRow(time, time, 3, headers, value, key)
    codec = suppress_codec(raw, raw)
    assert codec.decode_value(codec.encode_value(held)) == held
    codec = buffered_codec(auto_key, auto)
    assert codec.decode_value(codec.encode_value((value, headers))) == (value, headers)
    assert codec.decode_key(codec.encode_key(BufferedKey(time, key, 1))) == BufferedKey(time, key, 1)
    assert codec.decode_key(codec.encode_key(STREAM_TIME)) is STREAM_TIME


def test_a_null_header_waits_over_a_restart():
    app = tm.App("k", on_error=tm.skip)
    app.stream("in", key=tm.utf8, value=tm.utf8).map_batch(lambda values: values, max_wait="5s").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", "v", headers=(("trace", None), ("", b"")))
        for task in driver._tasks.values():
            for key in task.discard():
                task.caught_up(key, True)
        driver.advance_wall_clock("1s")
        driver.advance_wall_clock("6s")
        [record] = driver.read("out")
        assert record.headers == (("trace", None), ("", b""))


class Pair(NamedTuple):
    a: int
    b: str = "x"


class Swapped(NamedTuple):
    b: str = "x"
    a: int = 0


def test_named_tuples_are_stored_by_name_and_keys_as_ever(monkeypatch):
    written, key = auto.encode(Pair(1, "y")), auto_key.encode(Pair(1, "y"))
    assert auto.decode(written) == Pair(1, "y") == auto_key.decode(key)
    assert key[1:] != written  # by position
    assert auto.decode(key[1:]) == Pair(1, "y")  # as earlier versions wrote values
    form = _forms[Pair]
    assert form.make({"b": "y", "a": 1, "gone": 2}) == Pair(1, "y")
    assert form.make({"a": 1}) == Pair(1)
    with pytest.raises(ValueError, match="Pair has 1 fields without names, and the class has 2"):
        form.make([1])
    monkeypatch.setattr(f"{__name__}.Pair", Swapped)
    monkeypatch.setattr("tidemill.operators.serdes.classes._classes", {})
    assert auto.decode(written) == Swapped("y", 1)


def test_what_can_be_changed_is_kept_as_bytes():
    keeper = Keeper(auto)
    row = {"a": [1]}
    kept = keeper.keep(row)
    row["a"].append(2)
    assert isinstance(kept, Encoded)
    assert keeper.own(kept) == {"a": [1]}
    assert keeper.own(kept) is not keeper.own(kept)
    assert keeper.stored((0, kept)) == kept.raw
    assert keeper.keep("text") == "text"


@given(st.recursive(st.integers() | st.text(max_size=2), lambda inner: st.lists(inner, max_size=3) | st.tuples(inner)))
def test_a_fresh_value_is_equal_and_shares_nothing(value):
    copied = fresh({"v": value, "row": Row(1, [value])})  # type: ignore[arg-type]
    assert copied == {"v": value, "row": Row(1, [value])}  # type: ignore[arg-type]

    def lists(part):
        if isinstance(part, list):
            yield id(part)
        for inner in part if isinstance(part, (list, tuple)) else ():
            yield from lists(inner)

    assert not set(lists(value)) & {*lists(copied["v"]), *lists(copied["row"].total)}
