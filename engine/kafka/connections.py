"""Sends requests to brokers and returns their responses.

The connections are aiokafka's (TCP, TLS, SASL). There is one connection per broker and `lane`: a broker answers the
requests of a connection in order, so a JoinGroup that waits for other members would block a commit behind it. Every
request has its own timeout. Failures to connect, send or answer are Retryable; a refused log-in is Fatal. The caller
interprets error codes in responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka import conn as aiokafka_conn  # pyright: ignore[reportMissingTypeStubs]
from aiokafka import errors as aiokafka_errors  # pyright: ignore[reportMissingTypeStubs]
from typing_extensions import TypeVar

from ..errors import Fatal, Retryable
from .encoding import ProtocolError, Request, ResponseReader
from .protocol import Broker, ErrorCode, FindCoordinatorResponse, error_name, find_coordinator, metadata
from .security import Connection

__all__ = ["BrokerConnections", "UnsupportedVersion"]

R = TypeVar("R")

CONNECT_SECONDS = 10.0
LOOKUP_SECONDS = 10.0
LONGEST_SECONDS = 3600.0
"""aiokafka's own timeout for any request; ours are shorter."""


class UnsupportedVersion(Fatal):
    """The broker does not support the version of a request that is encoded here."""


class BrokerConnections:
    """Connections to a cluster, for use on one event loop."""

    def __init__(self, options: Connection) -> None:
        self._options = options
        self._connections: dict[tuple[Broker, str], Any] = {}
        self._connecting: dict[tuple[Broker, str], asyncio.Lock] = {}
        self._closed = False
        self._known: list[Broker] = []
        self._coordinators: dict[tuple[str, bool], Broker] = {}
        self._met = False

    async def send(self, broker: Broker, request: Request[R], seconds: float, lane: str = "") -> R:
        """Send a request to one broker and return its response."""
        where = f"{broker.host}:{broker.port}"
        link = await self._connection(broker, lane)
        try:
            answer: bytes = await asyncio.wait_for(link.send(_Frame(request)), seconds)
            return request.read(ResponseReader(answer))
        except ProtocolError as failure:
            _abort(link)
            raise Fatal(f"the broker at {where} does not speak Kafka's protocol as expected: {failure}") from failure
        except asyncio.TimeoutError as failure:
            _abort(link)
            raise Retryable(f"the broker at {where} did not answer within {seconds:g} s") from failure
        except asyncio.CancelledError:
            _abort(link)
            raise
        except UnsupportedVersion as failure:
            raise UnsupportedVersion(f"the broker at {where} is too old or too new: {failure}") from failure
        except (OSError, EOFError, aiokafka_errors.KafkaError) as failure:
            _abort(link)
            raise Retryable(f"the connection to the broker at {where} failed: {failure}") from failure

    async def send_any(self, request: Request[R], seconds: float, lane: str = "") -> R:
        """Send a request to brokers in random order until one answers."""
        last: Retryable | None = None
        tried: set[Broker] = set()
        for broker in [*random.sample(self._known, len(self._known)), *self._options.bootstrap]:
            if broker in tried:
                continue
            tried.add(broker)
            try:
                return await self.send(broker, request, seconds, lane)
            except Retryable as failure:
                last = failure
        raise last or Retryable("no broker is named in bootstrap.servers")

    async def brokers(self) -> list[Broker]:
        """Return all brokers of the cluster, freshly looked up."""
        self._known = await self.send_any(metadata(), LOOKUP_SECONDS) or self._known
        return self._known

    async def coordinator(self, key: str, *, transaction: bool = False) -> Broker:
        """Return the coordinator of a group or transactional id, cached until `forget`."""
        known = self._coordinators.get((key, transaction))
        if known is not None:
            return known
        if not self._known:
            await self.brokers()
        found: FindCoordinatorResponse = await self.send_any(
            find_coordinator(key, transaction=transaction), LOOKUP_SECONDS
        )
        what = "transactional id" if transaction else "group"
        if found.error in (ErrorCode.GROUP_AUTHORIZATION, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION):
            raise Fatal(
                f"this user is not authorized for the {what} {key!r} ({error_name(found.error)}): "
                f"grant it READ and DESCRIBE on groups, WRITE and DESCRIBE on transactional ids"
            )
        if found.error != ErrorCode.NONE:
            raise Retryable(f"the {what} {key!r} has no coordinator yet ({error_name(found.error)})")
        self._coordinators[key, transaction] = found.broker
        return found.broker

    async def local_host(self, broker: Broker, lane: str) -> str:
        """Return the local address of the connection to a broker."""
        raw = _socket(await self._connection(broker, lane))
        return raw.getsockname()[0] if raw is not None else "127.0.0.1"

    def forget(self, key: str, *, transaction: bool = False) -> None:
        """Remove the cached coordinator: it is looked up again next time."""
        self._coordinators.pop((key, transaction), None)

    async def close(self) -> None:
        """Close all connections. None is opened after this."""
        self._closed = True
        for link in self._connections.values():
            transport = _transport(link)
            closed = link.close()
            if closed is not None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(closed, 1.0)
            if transport is not None:
                transport.abort()  # a close waits for what was not sent, and for the other side of TLS
        self._connections.clear()

    async def _connection(self, broker: Broker, lane: str) -> Any:
        key = (broker, lane)
        async with self._connecting.setdefault(key, asyncio.Lock()):
            self._check_open()
            link = self._connections.get(key)
            if link is not None and link.connected():
                return link
            self._connections.pop(key, None)
            link = await self._connect(broker)
            if self._closed:  # while this one was being opened
                _abort(link)
                self._check_open()
            self._connections[key] = link
            self._met = True
            return link

    def _check_open(self) -> None:
        if self._closed:
            raise Retryable("the connections to Kafka have been closed")

    async def _connect(self, broker: Broker) -> Any:
        options, where = self._options, f"{broker.host}:{broker.port}"
        connecting = aiokafka_conn.create_conn(  # pyright: ignore[reportUnknownMemberType]
            broker.host,
            broker.port,
            client_id=options.client_id,
            request_timeout_ms=int(LONGEST_SECONDS * 1000),
            ssl_context=options.tls,
            security_protocol=options.protocol,
            max_idle_ms=None,
            sasl_mechanism=options.mechanism,
            sasl_plain_username=options.username,
            sasl_plain_password=options.password,
            sasl_kerberos_service_name=options.kerberos_service,
        )
        try:
            link: Any = await asyncio.wait_for(connecting, CONNECT_SECONDS)
        except asyncio.TimeoutError as failure:
            raise Retryable(f"the broker at {where} could not be reached within {CONNECT_SECONDS:g} s") from failure
        except ssl.SSLError as failure:
            raise self._refused(f"TLS with the broker at {where} failed: {failure}") from failure
        except aiokafka_errors.KafkaConnectionError as failure:
            raise Retryable(f"the broker at {where} could not be reached: {failure}") from failure
        except aiokafka_errors.KafkaError as failure:
            raise self._refused(f"the broker at {where} refused the log-in: {failure}") from failure
        except (OSError, EOFError) as failure:
            raise Retryable(f"the broker at {where} could not be reached: {failure}") from failure
        _keep_alive(link)
        return link

    def _refused(self, text: str) -> Fatal | Retryable:
        """Return Fatal if no log-in has worked yet, else Retryable: keys may be rotating."""
        return Retryable(text) if self._met else Fatal(text)


class _Header(NamedTuple):
    correlation_id: int


class _Encoded(NamedTuple):
    data: bytes

    def encode(self) -> bytes:
        return self.data


class _Frame:
    """A request in the form that aiokafka's connection takes."""

    class RESPONSE_TYPE:  # noqa: N801 - the connection needs this name
        @staticmethod
        def decode(data: BytesIO) -> bytes:
            return data.read()

    def __init__(self, request: Request[Any]) -> None:
        self._request = request

    def prepare(self, versions: dict[int, tuple[int, int]]) -> _Frame:
        key, version = self._request.key, self._request.version
        low, high = versions.get(key, (0, -1))
        if not low <= version <= high:
            raise UnsupportedVersion(f"it has versions {low} to {high} of request {key}, Tidemill needs {version}")
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Encoded:
        return _Encoded(self._request.framed(correlation_id, client_id))

    def encode(self) -> bytes:
        return b""

    def parse_response_header(self, data: BytesIO) -> _Header:
        correlation = int.from_bytes(data.read(4), "big", signed=True)
        if self._request.flexible:
            data.read(1)  # brokers send no tagged fields in headers
        return _Header(correlation)


def _transport(link: Any) -> asyncio.WriteTransport | None:
    writer = link._writer
    return None if writer is None else writer.transport


def _abort(link: Any) -> None:
    """Close a connection at once, without waiting for the other side."""
    transport = _transport(link)
    link.close()
    if transport is not None:
        transport.abort()


def _socket(link: Any) -> socket.socket | None:
    transport = _transport(link)
    return None if transport is None else transport.get_extra_info("socket")


def _keep_alive(link: Any) -> None:
    """Let the kernel detect within half a minute that the broker's machine is gone."""
    raw = _socket(link)
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
