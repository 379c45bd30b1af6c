"""How rows get to the client: all, in order, once each, whatever the client does with some of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import tidemill as tm
from tidemill.engine.errors import RecordRejected
from tidemill.engine.kafka import producer
from tidemill.engine.kafka.murmur2 import murmur2_partition
from tidemill.engine.kafka.producer import PlainProducer
from tidemill.operators.graph.codecs import Encoder
from tidemill.operators.record import Outgoing, OutgoingColumns, Record, Row

TOO_LARGE = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))


class Client:
    """A client with room for some records at a time, which does not take some values."""

    def __init__(self, room: int = 1_000_000, refused: tuple[bytes, ...] = ()) -> None:
        self.room, self.left, self.refused = room, room, refused
        self.taken: list[tuple[Any, ...]] = []
        self.reports: list[Any] = []

    def produce(self, topic: str, value: Any, key: Any, partition: Any, report: Any, _: Any, *more: Any) -> None:
        if value in self.refused:
            raise TOO_LARGE
        if not self.left:
            raise BufferError
        self.left -= 1
        self.taken.append((topic, value, key, partition, *more))
        self.reports.append(report)

    def poll(self, _seconds: float) -> int:
        self.left = self.room
        return 0

    def list_topics(self, topic: str, _timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=dict.fromkeys(range(5)))})


def made(client: Client, monkeypatch: pytest.MonkeyPatch) -> PlainProducer:
    monkeypatch.setattr(producer, "Producer", lambda _: client)
    return PlainProducer({})


ROWS: list[Row] = [
    (b"a", b"0", 7, None, -1),
    (None, b"1", 0, [("h", b"x")], 3),
    (b"c", None, 9, None, b"inner"),
    (b"d", b"3", 9, None, b"other"),
    (b"e", b"4", 9, None, 0),
]
TAKEN = [
    ("out", b"0", b"a", -1, 7, None),
    ("out", b"1", None, 3, 1, [("h", b"x")]),
    ("out", None, b"c", murmur2_partition(b"inner", 5), 9, None),
    ("out", b"3", b"d", murmur2_partition(b"other", 5), 9, None),
    ("out", b"4", b"e", 0, 9, None),
]


@pytest.mark.parametrize("room", [1, 2, 3, 100])
@pytest.mark.parametrize("columns", [False, True])
def test_all_rows_are_passed_on_in_order(room: int, columns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(room)
    one = made(client, monkeypatch)
    assert one.produce([Outgoing("out", OutgoingColumns.of(ROWS) if columns else ROWS)]) == []
    assert client.taken == TAKEN
    assert one.records_out == 5


@pytest.mark.parametrize("room", [1, 100])
def test_rows_that_the_client_does_not_take_are_returned(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(room, (b"0", b"3", b"4"))
    out = Outgoing("out", ROWS)
    refused = made(client, monkeypatch).produce([out])
    assert client.taken == TAKEN[1:3]
    assert [failure.row for failure in refused] == [(out, 0), (out, 3), (out, 4)]


@pytest.mark.parametrize("room", [1, 2, 100])
def test_the_last_change_of_a_store_is_reported(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(room)
    one = made(client, monkeypatch)
    one.changelog("log", 2, [(b"a", b"1", None), (b"b", None, [("h", b"x")]), (b"c", b"3", None)])
    assert client.taken == [
        ("log", b"1", b"a", 2, 0, None),
        ("log", None, b"b", 2, 0, [("h", b"x")]),
        ("log", b"3", b"c", 2, 0, None),
    ]
    assert [report == one._report_end for report in client.reports] == [False, False, True]


@pytest.mark.parametrize("value", [b"1", b"3"])
def test_a_change_that_the_client_does_not_take_is_an_error(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(Client(refused=(value,)), monkeypatch)
    with pytest.raises(RecordRejected):
        one.changelog("log", 2, [(b"a", b"1", None), (b"c", b"3", None)])


def test_columns_are_a_sequence_of_rows() -> None:
    columns = OutgoingColumns.of(ROWS)
    assert OutgoingColumns.of(columns) is columns
    assert list(columns) == ROWS == columns[:]
    assert columns[1] == ROWS[1]
    assert columns[1:3] == ROWS[1:3]
    assert len(columns) == 5
    assert not OutgoingColumns.of([])
    records = [Record("k", number, 5) for number in range(3)]
    rows = Encoder(tm.utf8, tm.json).rows(records)
    assert list(rows) == rows[:] == [(b"k", b"%d" % number, 5, None, -1) for number in range(3)]
