"""List the open transactions of a cluster with ListTransactions, which confluent_kafka does not have.

This request (api 66, version 0, flexible header) is the only part of Kafka's wire format that the tests implement.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from tests.brokers.client import admin

_LIST_TRANSACTIONS, _VERSION = 66, 0
_ENDED = {"Empty", "CompleteCommit", "CompleteAbort", "Dead"}


class Transaction(NamedTuple):
    transactional_id: str
    producer_id: int
    state: str


def open_transactions(bootstrap: str) -> list[Transaction]:
    """Return the transactions of all coordinators that are neither committed nor aborted yet."""
    found: list[Transaction] = []
    for broker in admin(bootstrap).list_topics(timeout=30).brokers.values():
        found += [transaction for transaction in _ask(str(broker.host), broker.port) if transaction.state not in _ENDED]
    return sorted(found)


def _ask(host: str, port: int) -> list[Transaction]:
    correlation = 1
    client = b"tests"
    header = struct.pack(">hhih", _LIST_TRANSACTIONS, _VERSION, correlation, len(client)) + client + b"\0"
    body = b"\x01\x01\0"  # no filter on states, none on producer ids, no tags
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        return _decode(_exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the broker closed the connection in the middle of its response")
        data += chunk
    return data


def _decode(data: bytes) -> list[Transaction]:
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    def count() -> int:
        value = shift = 0
        while True:
            (byte,) = take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text() -> str:
        return take(count() - 1).decode()

    def skip_tags() -> None:
        for _ in range(count()):
            count()
            take(count())

    take(4)  # correlation id
    skip_tags()
    _throttle, error = struct.unpack(">ih", take(6))
    if error:
        raise RuntimeError(f"the broker answered ListTransactions with error {error}")
    for _ in range(count() - 1):
        text()  # unknown state filters
    found: list[Transaction] = []
    for _ in range(count() - 1):
        name = text()
        (producer,) = struct.unpack(">q", take(8))
        found.append(Transaction(name, producer, text()))
        skip_tags()
    return found
