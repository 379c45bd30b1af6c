"""Tests of the proxy that injects network faults: what it holds, delivers and loses."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.brokers import ports
from tests.brokers.client import wait_for
from tests.brokers.proxy import Proxy
from tests.support.patience import PATIENCE


class _Echo(socketserver.BaseRequestHandler):
    received = bytearray()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self.request.recv(4096):
                type(self).received.extend(chunk)
                self.request.sendall(chunk)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    _Echo.received = bytearray()
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    proxy = Proxy(("127.0.0.1", server.server_address[1]), ports.reserve())
    try:
        yield proxy
    finally:
        proxy.close()
        server.shutdown()
        server.server_close()
        thread.join()
        ports.release(proxy.port)


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def _silent(connection: socket.socket, seconds: float = 0.15) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (chunk := connection.recv(size - len(data))):
        data += chunk
    return bytes(data)


def test_data_of_any_size_is_forwarded_in_both_directions(proxy: Proxy) -> None:
    payload = bytes(range(256)) * 20_000
    with _connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(payload,))
        sender.start()
        assert _exactly(connection, len(payload)) == payload
        sender.join()
        assert proxy.forwarded == {"to_broker": len(payload), "to_client": len(payload)}
        assert proxy.connections == 1
    wait_for(lambda: proxy.connections == 0, 5, "the proxy to see the connection end")


def test_a_cut_to_the_broker_holds_requests_until_it_heals(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        proxy.cut("to_broker")
        connection.sendall(b"held")
        assert _silent(connection)
        assert _Echo.received == b""
        proxy.heal()
        assert _exactly(connection, 4) == b"held"


def test_a_cut_to_the_client_forwards_requests_and_holds_responses(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        proxy.cut("to_client")
        connection.sendall(b"done")
        wait_for(lambda: _Echo.received == b"done", 5, "the request to arrive")
        assert _silent(connection)
        proxy.heal("to_client")
        assert _exactly(connection, 4) == b"done"


def test_healing_one_direction_keeps_the_other_cut(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        proxy.cut()
        proxy.heal("to_broker")
        connection.sendall(b"x")
        wait_for(lambda: _Echo.received == b"x", 5, "the request to arrive")
        assert _silent(connection)


def test_what_is_held_on_a_closed_connection_is_lost(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        proxy.cut("to_client")
        connection.sendall(b"lost")
        wait_for(lambda: _Echo.received == b"lost", 5, "the request to arrive")
        proxy.close_connections()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        proxy.heal()
    with _connect(proxy) as connection:
        connection.sendall(b"again")
        assert _exactly(connection, 5) == b"again"


def test_connections_made_during_a_cut_are_held_too(proxy: Proxy) -> None:
    proxy.cut()
    with _connect(proxy) as connection:
        connection.sendall(b"x")
        assert _silent(connection)
        proxy.heal()
        assert _exactly(connection, 1) == b"x"


def test_a_delay_comes_in_both_directions_and_does_not_slow_the_flow(proxy: Proxy) -> None:
    proxy.delay(0.1)
    with _connect(proxy) as connection:
        begin = time.monotonic()
        for _ in range(20):
            connection.sendall(b"x" * 1000)
            time.sleep(0.005)
        assert len(_exactly(connection, 20_000)) == 20_000
        assert 0.2 <= time.monotonic() - begin < 1.0 * PATIENCE


def test_the_end_of_one_side_is_forwarded_to_the_other(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        assert _exactly(connection, 5) == b"last"


def test_a_connection_is_reset_if_nothing_listens_behind_the_proxy() -> None:
    proxy = Proxy(("127.0.0.1", ports.reserve()), ports.reserve())
    with pytest.raises(ConnectionResetError), _connect(proxy) as connection:
        connection.recv(1)
    proxy.close()
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
