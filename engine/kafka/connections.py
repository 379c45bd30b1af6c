"""Sends requests to brokers and brings answers, over aiokafka's connections (TCP, TLS, SASL).

One connection for each broker and `lane`: a broker answers the requests of a connection in order, so a JoinGroup that
waits for others would hold up a commit behind it. Every request has its own time-out. Failures to connect, send or
answer are Retryable; a refused log-in is Fatal. What an error code in an answer means is for the caller to say.
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
from .encoding import Broken, Reader, Request
from .protocol import Broker, Code, Found, find_coordinator, metadata, name_of
from .security import Connection

__all__ = ["Unsupported", "Wire"]

R = TypeVar("R")

CONNECT_SECONDS = 10.0
LOOKUP_SECONDS = 10.0
LONGEST_SECONDS = 3600.0
"""aiokafka's own time-out for any request; ours are shorter."""


class Unsupported(Fatal):
    """The broker does not have a request in the version that is written here."""


class Wire:
    """Connections to a cluster, for use on one event loop."""

    def __init__(self, options: Connection) -> None:
        self._options = options
        self._connections: dict[tuple[Broker, str], Any] = {}
        self._connecting: dict[tuple[Broker, str], asyncio.Lock] = {}
        self._known: list[Broker] = []
        self._coordinators: dict[tuple[str, bool], Broker] = {}
        self._met = False

    async def send(self, broker: Broker, request: Request[R], seconds: float, lane: str = "") -> R:
        """Asks one broker."""
        where = f"{broker.host}:{broker.port}"
        link = await self._connection(broker, lane)
        try:
            answer: bytes = await asyncio.wait_for(link.send(_Frame(request)), seconds)
            return request.read(Reader(answer))
        except Broken as failure:
            link.close()
            raise Fatal(f"the broker at {where} does not speak Kafka's protocol as expected: {failure}") from failure
        except asyncio.TimeoutError as failure:
            link.close()
            raise Retryable(f"the broker at {where} did not answer within {seconds:g} s") from failure
        except asyncio.CancelledError:
            link.close()
            raise
        except Unsupported as failure:
            raise Unsupported(f"the broker at {where} is too old or too new: {failure}") from failure
        except (OSError, EOFError, aiokafka_errors.KafkaError) as failure:
            link.close()
            raise Retryable(f"the connection to the broker at {where} failed: {failure}") from failure

    async def send_any(self, request: Request[R], seconds: float, lane: str = "") -> R:
        """Asks brokers in random order until one answers."""
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
        """All brokers of the cluster, asked for anew."""
        self._known = await self.send_any(metadata(), LOOKUP_SECONDS) or self._known
        return self._known

    async def coordinator(self, key: str, *, transaction: bool = False) -> Broker:
        """The broker that coordinates a group or a transactional id; remembered until `forget`."""
        known = self._coordinators.get((key, transaction))
        if known is not None:
            return known
        if not self._known:
            await self.brokers()
        found: Found = await self.send_any(find_coordinator(key, transaction=transaction), LOOKUP_SECONDS)
        what = "transactional id" if transaction else "group"
        if found.error in (Code.GROUP_AUTHORIZATION, Code.TRANSACTIONAL_ID_AUTHORIZATION):
            raise Fatal(
                f"Kafka does not let this user use the {what} {key!r} ({name_of(found.error)}): "
                f"grant it READ and DESCRIBE on groups, WRITE and DESCRIBE on transactional ids"
            )
        if found.error != Code.NONE:
            raise Retryable(f"the {what} {key!r} has no coordinator yet ({name_of(found.error)})")
        self._coordinators[key, transaction] = found.broker
        return found.broker

    async def local_host(self, broker: Broker, lane: str) -> str:
        """The address by which this machine reaches a broker."""
        raw = _socket(await self._connection(broker, lane))
        return raw.getsockname()[0] if raw is not None else "127.0.0.1"

    def forget(self, key: str, *, transaction: bool = False) -> None:
        """Looks the coordinator up again next time."""
        self._coordinators.pop((key, transaction), None)

    async def close(self) -> None:
        """Closes all connections."""
        links, self._connections = self._connections, {}
        for link in links.values():
            closed = link.close()
            if closed is not None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(closed, 1.0)

    async def _connection(self, broker: Broker, lane: str) -> Any:
        key = (broker, lane)
        async with self._connecting.setdefault(key, asyncio.Lock()):
            link = self._connections.get(key)
            if link is not None and link.connected():
                return link
            self._connections.pop(key, None)
            link = await self._connect(broker)
            self._connections[key] = link
            self._met = True
            return link

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
        """A log-in that never worked will not; one that did work before may be in the midst of a rotation of keys."""
        return Retryable(text) if self._met else Fatal(text)


class _Header(NamedTuple):
    correlation_id: int


class _Encoded(NamedTuple):
    data: bytes

    def encode(self) -> bytes:
        return self.data


class _Frame:
    """A request in the form in which aiokafka's connection takes one."""

    class RESPONSE_TYPE:  # noqa: N801 - the connection asks for this name
        @staticmethod
        def decode(data: BytesIO) -> bytes:
            return data.read()

    def __init__(self, request: Request[Any]) -> None:
        self._request = request

    def prepare(self, versions: dict[int, tuple[int, int]]) -> _Frame:
        key, version = self._request.key, self._request.version
        low, high = versions.get(key, (0, -1))
        if not low <= version <= high:
            raise Unsupported(f"it offers versions {low} to {high} of request {key}, Tidemill needs {version}")
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


def _socket(link: Any) -> socket.socket | None:
    writer = link._writer
    return None if writer is None else writer.get_extra_info("socket")


def _keep_alive(link: Any) -> None:
    """Lets the kernel notice, within half a minute, that the broker's machine is gone while we wait for an answer."""
    raw = _socket(link)
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
