"""Tests of serdes: exact round trips, refusals with a reason, columns with missing values."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.untyped import untyped
from tidemill.operators.serdes.base import check_serde, column_decoder, column_encoder
from tidemill.operators.serdes.keys import PlainKey, SessionKey, WindowedKey


class View(msgspec.Struct):
    user: str
    amount: float


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    name: str


class Pair(NamedTuple):
    left: int
    right: str


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_utf8(text: str) -> None:
    assert tm.utf8.decode(tm.utf8.encode(text)) == text
    assert tm.utf8.encode(text) == text.encode()


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.uuids())
def test_numbers_and_uuids(number: int, real: float, identity: uuid.UUID) -> None:
    assert tm.int64.decode(tm.int64.encode(number)) == number
    assert tm.float64.decode(tm.float64.encode(real)) == real
    assert tm.uuid.decode(tm.uuid.encode(identity)) == identity


def test_the_bytes_are_those_of_kafkas_own_serialisers() -> None:
    assert tm.int64.encode(1) == b"\x00" * 7 + b"\x01"
    assert tm.float64.encode(1.0) == b"\x3f\xf0" + b"\x00" * 6
    assert tm.uuid.encode(uuid.UUID(int=1)) == b"00000000-0000-0000-0000-000000000001"


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="int64 cannot write 9223372036854775808"):
        tm.int64.encode(2**63)
    with pytest.raises(ValueError, match="int64 reads 8 bytes, not 3"):
        tm.int64.decode(b"abc")
    with pytest.raises(TypeError, match="raw writes bytes, not str"):
        tm.raw.encode(untyped("text"))


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (View, View("u", 1.5)),
        (Point, Point(1, 2)),
        (Row, {"name": "n"}),
        (Pair, Pair(1, "r")),
        (list[View], [View("u", 1.0)]),
        (dict[str, int], {"a": 1}),
        (int | None, 3),
    ],
)
@pytest.mark.parametrize("serde", [tm.json, tm.msgpack])
def test_models(serde: Any, model: Any, value: Any) -> None:
    typed = serde(model)
    assert typed.decode(typed.encode(value)) == value
    assert type(typed.decode(typed.encode(value))) is type(value)


def test_typed_json_says_what_is_wrong_with_the_data() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Expected `float`, got `str` - at `\$.amount`"):
        tm.json(View).decode(b'{"user": "u", "amount": "x"}')


def test_plain_json() -> None:
    value = {"a": [1, 2.5, None, True, "x"], "big": 2**80}
    assert tm.json.decode(tm.json.encode(value)) == value
    assert tm.json.encode(tm.Windowed("k", 1, 2)) == b'{"key":"k","start":1,"end":2}'
    with pytest.raises(TypeError, match=r"builtins\.object cannot be written as JSON"):
        tm.json.encode(object())


@pytest.mark.parametrize("mistake", ["views", b"x", {"a": int}, [int]])
def test_json_takes_types_only(mistake: Any) -> None:
    with pytest.raises(tm.TopologyError, match="takes a type"):
        tm.json(mistake)


def test_a_type_that_cannot_be_read_is_an_error_while_building() -> None:
    with pytest.raises(tm.TopologyError, match="cannot read"):
        tm.json(set[int] | list[str])
    with pytest.raises(tm.TopologyError, match="cannot read"):
        tm.msgpack(set[int] | list[str])


@pytest.mark.parametrize("mistake", [View, tm.json.decode, 5, "utf8", type(tm.utf8)])
def test_what_is_no_serde_is_refused_with_advice(mistake: Any) -> None:
    with pytest.raises(tm.TopologyError, match="is not a serde"):
        check_serde(mistake, "value=: ")


class Backwards:
    """A user's serde with a fast path for columns."""

    def __init__(self) -> None:
        self.columns = 0

    def __repr__(self) -> str:
        return "Backwards()"

    def encode(self, value: str) -> bytes:
        return value.encode()[::-1]

    def decode(self, data: bytes) -> str:
        return data[::-1].decode()

    def encode_many(self, values: list[str]) -> list[bytes]:
        self.columns += 1
        return [self.encode(value) for value in values]

    def decode_many(self, data: list[bytes]) -> list[str]:
        self.columns += 1
        return [self.decode(item) for item in data]


@pytest.mark.parametrize("serde", [tm.utf8, tm.json, tm.json(str), tm.msgpack, tm.auto, Backwards()], ids=repr)
@given(column=st.lists(st.none() | st.text(alphabet="abc\n ", max_size=3)))
def test_columns_keep_missing_values(serde: Any, column: list[str | None]) -> None:
    encoded = column_encoder(serde)(column)
    assert encoded == [None if item is None else serde.encode(item) for item in column]
    assert column_decoder(serde)(encoded) == column


def test_columns_use_the_fast_path() -> None:
    serde = Backwards()
    column_decoder(serde)(column_encoder(serde)(["a", None, "b"]))
    assert serde.columns == 2


def test_raw_columns_are_passed_on() -> None:
    assert column_decoder(tm.raw)([b"a", None]) == [b"a", None]


@given(st.binary(), st.integers(0, 2**62), st.integers(1, 10**9))
def test_windowed_keys(key: bytes, start: int, size: int) -> None:
    serde = WindowedKey(tm.raw, tm.tumbling(size))
    windowed = tm.Windowed(key, start, start + size)
    assert serde.decode(serde.encode(windowed)) == windowed
    assert serde.encode(windowed) == key + start.to_bytes(8, "big")


@given(st.binary(), st.integers(0, 2**62), st.integers(0, 10**9))
def test_keys_of_sessions(key: bytes, start: int, length: int) -> None:
    serde = SessionKey(tm.raw)
    windowed = tm.Windowed(key, start, start + length)
    assert serde.decode(serde.encode(windowed)) == windowed
    assert serde.encode(windowed) == key + (start + length).to_bytes(8, "big") + start.to_bytes(8, "big")


def test_the_key_of_a_session_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        SessionKey(tm.utf8).decode(b"123456789012345")


def test_a_windowed_key_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 bytes"):
        WindowedKey(tm.utf8, tm.tumbling(10)).decode(b"1234567")


def test_plain_keys() -> None:
    serde = PlainKey()
    assert [serde.encode(key) for key in ("a", b"\xff", 5, ["x", 1])] == [b"a", b"\xff", b"5", b'["x",1]']
    assert serde.decode(b"a") == "a"
    assert serde.decode(b"\xff") == b"\xff"
