"""Tests of requests and responses of the group protocol as bytes. tests/integration tests it on real brokers."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.kafka.encoding import ProtocolError, Request, RequestWriter, ResponseReader
from tidemill.engine.kafka.offset_requests import OffsetFetchResponse, commit_offsets, fetch_offsets
from tidemill.engine.kafka.protocol import (
    Broker,
    FindCoordinatorResponse,
    JoinGroupResponse,
    describe_transactions,
    error_name,
    find_coordinator,
    heartbeat,
    init_producer_id,
    join_group,
    leave_group,
    list_transactions,
    metadata,
    sync_group,
)


@given(
    st.integers(-128, 127),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
)
def test_numbers(a: int, b: int, c: int, d: int) -> None:
    reader = ResponseReader(RequestWriter().int8(a).int16(b).int32(c).int64(d).done())
    assert (reader.int8(), reader.int16(), reader.int32(), reader.int64()) == (a, b, c, d)


@given(st.none() | st.text(max_size=300), st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_strings_bytes_and_varints(text: str | None, data: bytes, number: int) -> None:
    reader = ResponseReader(RequestWriter().string(text).compact_string(text).bytes(data).varint(number).done())
    assert (reader.string(), reader.compact_string(), reader.bytes(), reader.varint()) == (text, text, data, number)


@given(st.binary(max_size=60))
def test_an_answer_that_ends_too_early_or_is_no_answer_at_all(data: bytes) -> None:
    for request in (
        find_coordinator("g", transaction=False),
        metadata(),
        join_group("g", 1, 1, "", None, "p", b""),
        sync_group("g", 1, "m", None, {}),
        commit_offsets("g", 1, "m", None, {}),
        fetch_offsets("g", [], stable=True),
        list_transactions([]),
        describe_transactions([]),
        init_producer_id("t", 1),
    ):
        with suppress(ProtocolError):
            request.read(ResponseReader(data))


def test_tagged_fields_are_skipped() -> None:
    reader = ResponseReader(b"\x02" + b"\x00\x03abc" + b"\x05\x00" + b"\x07")
    reader.tags()
    assert reader.int8() == 7


def test_a_varint_without_an_end() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        ResponseReader(b"\xff" * 6).varint()


def test_frames() -> None:
    plain = Request(12, 3, b"body", lambda _: None)
    assert plain.framed(7, "me") == b"\x00\x0c\x00\x03\x00\x00\x00\x07\x00\x02mebody"
    flexible = Request(9, 7, b"body", lambda _: None, flexible=True)
    assert flexible.framed(7, "me") == b"\x00\x09\x00\x07\x00\x00\x00\x07\x00\x02me\x00body"


def answer(writer: RequestWriter) -> ResponseReader:
    return ResponseReader(writer.done())


def test_find_coordinator() -> None:
    request = find_coordinator("group", transaction=True)
    assert request.body == b"\x00\x05group\x01"
    reply = RequestWriter().int32(0).int16(15).string("not yet").int32(3).string("host").int32(9092)
    assert request.read(answer(reply)) == FindCoordinatorResponse(15, "not yet", Broker("host", 9092))


def test_metadata() -> None:
    reply = RequestWriter().int32(2)
    for node, rack in ((1, "r"), (2, None)):
        reply.int32(node).string(f"h{node}").int32(9000 + node).string(rack)
    assert metadata().read(answer(reply)) == [Broker("h1", 9001), Broker("h2", 9002)]


def test_join_group() -> None:
    request = join_group("g", 1000, 2000, "m", "i", "tidemill", b"data")
    reader = ResponseReader(request.body)
    assert (reader.string(), reader.int32(), reader.int32(), reader.string(), reader.string()) == (
        "g",
        1000,
        2000,
        "m",
        "i",
    )
    assert (reader.string(), reader.int32(), reader.string(), reader.bytes()) == ("consumer", 1, "tidemill", b"data")
    reply = RequestWriter().int32(0).int16(0).int32(5).string("tidemill").string("leader").string("me").int32(2)
    reply.string("a").string(None).bytes(b"x").string("b").string("static").bytes(b"y")
    assert request.read(answer(reply)) == JoinGroupResponse(0, 5, "leader", "me", [("a", b"x"), ("b", b"y")])


def test_leave_group_returns_the_first_error() -> None:
    request = leave_group("g", [("a", None), ("b", "i")])
    ok = RequestWriter().int32(0).int16(0).int32(2).string("a").string(None).int16(0).string("b").string("i").int16(25)
    assert request.read(answer(ok)) == 25
    assert request.read(answer(RequestWriter().int32(0).int16(16).int32(0))) == 16
    assert request.read(answer(RequestWriter().int32(0).int16(0).int32(1).string("a").string(None).int16(0))) == 0


def test_heartbeat() -> None:
    assert heartbeat("g", 1, "m", None).read(answer(RequestWriter().int32(0).int16(27))) == 27


def test_offsets_of_several_topics_and_partitions() -> None:
    """All numbers differ, so that a value read at a wrong position is detected."""
    request = commit_offsets("g", 4, "m", None, {("b", 2): (20, "x"), ("a", 1): (10, ""), ("b", 1): (11, "y")})
    reply = RequestWriter().int32(0).int32(2)
    reply.string("a").int32(1).int32(1).int16(5)
    reply.string("b").int32(2).int32(1).int16(6).int32(70_000).int16(7)
    assert request.read(answer(reply)) == {("a", 1): 5, ("b", 1): 6, ("b", 70_000): 7}
    asked = fetch_offsets("g", [("a", 1), ("b", 2)], stable=True)
    told = RequestWriter().int32(0).varint(3)
    told.compact_string("a").varint(2).int32(1).int64(10).int32(3).compact_string("note").int16(0).tags().tags()
    told.compact_string("b").varint(2).int32(2).int64(-1).int32(-1).compact_string(None).int16(88).tags().tags()
    told.int16(0).tags()
    assert asked.read(answer(told)) == OffsetFetchResponse(0, {("a", 1): (10, "note", 0), ("b", 2): (-1, "", 88)})


def test_names_of_errors() -> None:
    assert error_name(22) == "ILLEGAL_GENERATION"
    assert error_name(999) == "error 999"
