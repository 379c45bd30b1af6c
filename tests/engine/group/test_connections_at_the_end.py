"""Tests that no connection to Kafka or another member stays open when the thread of the membership ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import socket
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from tidemill.engine.errors import Retryable
from tidemill.engine.group.background import Background
from tidemill.engine.group.liveness import LivenessMonitor
from tidemill.engine.kafka.connections import BrokerConnections
from tidemill.engine.kafka.security import connection

SECONDS = 5.0


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Fail a test after which a socket or a coroutine is found by the garbage collector."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


class Silent:
    """A server that accepts connections, counts them, and never answers."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.accepted: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for_one(self) -> socket.socket:
        until = time.monotonic() + SECONDS
        while not self.accepted and time.monotonic() < until:
            time.sleep(0.005)
        return self.accepted[0]

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self.accepted:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.accepted.append(self._server.accept()[0])


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def hears_the_end(one: socket.socket) -> bool:
    """Return whether the other side closes this connection."""
    one.settimeout(SECONDS)
    try:
        while one.recv(4096):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_request_under_way_fails_and_its_connection_is_closed_when_the_thread_ends(silent: Silent) -> None:
    background = Background("tests")
    over = threading.Event()

    async def main() -> None:
        while not over.is_set():
            await asyncio.sleep(0.005)

    background.start(main())
    wire = BrokerConnections(connection({"bootstrap.servers": silent.address}))
    future = background.submit(wire.brokers())
    one = silent.wait_for_one()
    over.set()
    with pytest.raises(Retryable, match="has ended"):
        future.result(SECONDS)
    assert hears_the_end(one)
    background.join(SECONDS)
    with pytest.raises(Retryable, match="has ended"):
        background.submit(wire.brokers()).result(0)


def test_a_request_whose_caller_has_given_up_leaves_no_connection(silent: Silent) -> None:
    background = Background("tests")

    async def main() -> None:
        await asyncio.sleep(0.05)

    background.start(main())
    wire = BrokerConnections(connection({"bootstrap.servers": silent.address}))
    future = background.submit(wire.brokers())
    one = silent.wait_for_one()
    future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(SECONDS)
    assert hears_the_end(one)
    background.join(SECONDS)


def test_no_connection_is_opened_after_all_have_been_closed(silent: Silent) -> None:
    async def talk() -> None:
        wire = BrokerConnections(connection({"bootstrap.servers": silent.address}))
        await wire.close()
        with pytest.raises(Retryable, match="have been closed"):
            await wire.brokers()

    asyncio.run(talk())
    assert silent.accepted == []


def test_a_member_that_connects_while_the_monitor_closes_is_let_go() -> None:
    """At any point of its being accepted: each round closes the monitor a little later after the connection."""

    async def round_of(turns: int) -> socket.socket:
        monitor = LivenessMonitor("me", asyncio.Event(), asyncio.create_task)
        await monitor.listen("127.0.0.1")
        host, _, port = monitor.address.rpartition(":")
        one = socket.create_connection((host, int(port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await monitor.close()
        return one

    for turns in range(8):
        background = Background("tests")
        found: list[socket.socket] = []

        async def main(turns: int = turns, found: list[socket.socket] = found) -> None:
            found.append(await round_of(turns))

        background.start(main())
        background.join(SECONDS)
        with found[0] as one:
            assert hears_the_end(one), turns
