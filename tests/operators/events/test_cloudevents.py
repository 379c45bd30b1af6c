"""CloudEvents in both modes: what the official SDK writes and reads, what the specification says, and errors."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.encoded import send_bytes
from tests.support.examples import examples

WHEN = dt.datetime(2024, 2, 3, 4, 5, 6, 123456, tzinfo=dt.timezone.utc)
SPEC = JSONFormat()


class Order(msgspec.Struct):
    item: str
    amount: float = 0.0


def program(data: Any = Order, mode: Any = "binary") -> tm.App:
    app = tm.App("shop")
    app.stream("in", key=tm.utf8, value=tm.cloudevents(data)).to("out", value=tm.cloudevents(data, mode=mode))
    return app


EVENT = tm.CloudEvent(
    "7", "/shop", "order.placed", Order("pen", 4.5), "ann", WHEN, "application/json", "/schemas/order", {"tenant": "a1"}
)
ATTRIBUTES = {
    "id": "7",
    "source": "/shop",
    "type": "order.placed",
    "subject": "ann",
    "time": WHEN,
    "datacontenttype": "application/json",
    "dataschema": "/schemas/order",
    "tenant": "a1",
}


@pytest.mark.parametrize("write", ["binary", "structured"])
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_events_of_the_official_sdk_and_back(mode: str, write: Any) -> None:
    sent = SdkEvent(attributes=dict(ATTRIBUTES), data={"item": "pen", "amount": 4.5})
    message = kafka.to_binary(sent, SPEC) if mode == "binary" else kafka.to_structured(sent, SPEC)
    assert isinstance(message.value, bytes)
    with tm.testing.TopologyDriver(program(mode=write)) as driver:
        headers = (*message.headers.items(), ("trace", b"1"))
        send_bytes(driver, "in", b"ann", message.value, headers=headers)
        send_bytes(driver, "in", b"ann", message.value, headers=headers)
        [_, value, _, found, _], _ = driver.read_bytes("out")
        send_bytes(driver, "in", b"ann", message.value, headers=headers)
        assert driver.read("out")[0].value == EVENT
    assert found is not None
    assert ("trace", b"1") in found
    assert sum(name == "content-type" for name, _ in found) == 1
    assert any(name.startswith("ce_") for name, _ in found) == (write == "binary")
    theirs = {name: content for name, content in found if name != "trace" and content is not None}
    again = kafka.from_kafka(kafka.KafkaMessage(theirs, None, value or b""), SPEC)
    assert again.get_data() == {"item": "pen", "amount": 4.5}
    assert {name: part for name, part in again.get_attributes().items() if name != "specversion"} == ATTRIBUTES


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
EVENTS = st.builds(
    tm.CloudEvent,
    id=TEXT,
    source=TEXT,
    type=TEXT,
    data=st.none() | st.builds(Order, item=st.text(max_size=5), amount=st.floats(0, 9)),
    subject=st.none() | TEXT,
    time=st.none() | st.datetimes(timezones=st.just(dt.timezone.utc)),
    dataschema=st.none() | TEXT,
    extensions=st.dictionaries(st.text("abcx1", min_size=1, max_size=4), TEXT, max_size=2),
)


@examples(100)
@given(event=EVENTS, mode=st.sampled_from(["binary", "structured"]))
def test_what_is_written_is_read(event: tm.CloudEvent[Order], mode: Any) -> None:
    serde: Any = tm.cloudevents(Order, mode=mode).in_topic("t", "value")
    data = serde.encode(event)
    [headers] = serde.with_attributes([None], [event])
    [read] = serde.decode_with_headers([data], [tuple(headers)])
    assert read == msgspec.structs.replace(read, data=event.data)
    expected = event if event.data is None else msgspec.structs.replace(event, datacontenttype="application/json")
    assert read == expected


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_data_by_other_serdes(mode: Any) -> None:
    registry = tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}")
    for serde, data, media in (
        (tm.raw, b"\x00\xff", None),
        (tm.utf8, "text", "text/plain"),
        (registry.avro(Order), Order("pen", 4.5), "application/avro"),
    ):
        event = tm.CloudEvent("1", "/s", "t", data, datacontenttype=media)
        with tm.testing.TopologyDriver(program(serde, mode)) as driver:
            driver.send("in", key="a", value=event, timestamp=1)
            assert driver.read("out")[0].value == event


def test_structured_records_as_the_specification_has_them() -> None:
    serde: Any = tm.cloudevents(tm.utf8).in_topic("t", "value")
    base = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    text = {**base, "datacontenttype": "text/plain", "data": "hello", "flag": True, "count": 3}
    read = serde.decode(json.dumps(text).encode())
    assert (read.data, read.extensions) == ("hello", {"flag": True, "count": 3})
    assert serde.decode(json.dumps({**base, "data_base64": "aGVsbG8="}).encode()).data == "hello"
    assert serde.decode(json.dumps({**base, "subject": None}).encode()).subject is None


def test_deletions_and_events_without_data() -> None:
    app = tm.App("shop")
    app.table("in", key=tm.utf8, value=tm.cloudevents(Order)).named("events")
    with tm.testing.TopologyDriver(app) as driver:
        event = tm.CloudEvent("1", "/s", "t")
        driver.send("in", key="a", value=event, timestamp=1)
        assert driver.store("events").get("a") == event
        send_bytes(driver, "in", b"a", None)
        assert driver.store("events").get("a") is None


def test_events_in_state_and_through_a_repartition() -> None:
    app = tm.App("shop")
    events = app.stream("in", key=tm.utf8, value=tm.cloudevents(Order), timestamp=lambda event: event.time)
    events.group_by(lambda event: event.type).reduce(lambda _, event: event).named("latest")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", key="a", value=EVENT)
        assert driver.store("latest").get("order.placed") == EVENT


def test_errors_say_what_is_wrong() -> None:
    serde: Any = tm.cloudevents(Order).in_topic("t", "value")
    with pytest.raises(ValueError, match="no CloudEvent"):
        serde.decode(b'{"item": "pen"}')
    with pytest.raises(ValueError, match="no CloudEvent"):
        serde.decode(b"\xff")
    with pytest.raises(ValueError, match=r"version '0\.3'"):
        serde.decode(b'{"specversion": "0.3", "id": "1", "source": "/s", "type": "t"}')
    with pytest.raises(ValueError, match="has no source, type"):
        serde.decode_with_headers([None], [(("ce_specversion", b"1.0"), ("ce_id", b"1"))])
    with pytest.raises(ValueError, match="cloudevents-batch"):
        serde.decode_with_headers([b"[]"], [(("content-type", b"application/cloudevents-batch+json"),)])
    with pytest.raises(TypeError, match=r"writes tm\.CloudEvent"):
        serde.encode(Order("pen"))
    with pytest.raises(ValueError, match="its id, which is not empty"):
        serde.encode(tm.CloudEvent("", "/s", "t"))
    with pytest.raises(ValueError, match="has no time zone"):
        serde.encode(tm.CloudEvent("1", "/s", "t", time=WHEN.replace(tzinfo=None)))
    with pytest.raises(ValueError, match="cannot be the name of an extension"):
        serde.encode(tm.CloudEvent("1", "/s", "t", extensions={"Trace_Id": "1"}))
    with pytest.raises(tm.TopologyError, match="'binary' or 'structured'"):
        tm.cloudevents(Order, mode="batch")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(tm.TopologyError, match="a serde of values"):
        tm.App("a").stream("in", key=tm.cloudevents(Order))
