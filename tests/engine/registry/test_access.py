"""Tests of access to a schema registry: users, tokens, certificates, and the errors when it is denied."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tests.integration.secure import certificates
from tidemill.operators.schemas.schema import UnknownSchema

RECORD = b"\x00\x00\x00\x00\x07\x06pen"


class Guarded(ThreadingHTTPServer):
    """A server with only schema 7, for requests with the required header."""

    def __init__(self, wanted: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wanted = wanted
        self.seen: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        given, server = self.headers.get("Authorization"), self.server
        assert isinstance(server, Guarded)
        server.seen.append(given)
        allowed = server.wanted in (None, given)
        answer: dict[str, Any] = {"schema": '"string"'} if allowed else {"error_code": 401, "message": "who are you?"}
        body = json.dumps(answer).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[..., Guarded]]:
    started: list[Guarded] = []

    def start(wanted: str | None = None, context: ssl.SSLContext | None = None) -> Guarded:
        server = Guarded(wanted)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def read(registry: tm.SchemaRegistry) -> Any:
    try:
        return registry.avro().in_topic("orders", "value").decode(RECORD)
    finally:
        end(registry)


def end(registry: tm.SchemaRegistry) -> None:
    """Answer the pending requests of the thread, which would otherwise retry, and log, forever."""
    schemas: Any = registry.schemas

    def ended(wanted: Any) -> Any:
        raise UnknownSchema("the test has ended")

    session = schemas.client._client._rest_client.session
    schemas.client.by_id = ended
    deadline = time.monotonic() + 10
    while schemas._asked and time.monotonic() < deadline:
        time.sleep(0.01)
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("auth", "wanted"),
    [
        (("ann", "se:same"), f"Basic {base64.b64encode(b'ann:se:same').decode()}"),
        ("token-1", "Bearer token-1"),
        (lambda: "token-2", "Bearer token-2"),
    ],
)
def test_a_user_or_a_token(serve: Callable[..., Guarded], auth: Any, wanted: str) -> None:
    server = serve(wanted)
    assert read(tm.SchemaRegistry(f"http://127.0.0.1:{server.server_port}", auth=auth)) == "pen"
    assert server.seen == [wanted]


@pytest.mark.slow
def test_a_refusal_says_what_to_check(serve: Callable[..., Guarded]) -> None:
    """No record is treated as invalid because of it: the registry may be reconfigured."""
    server = serve("Bearer right")
    registry = tm.SchemaRegistry(f"http://127.0.0.1:{server.server_port}", auth="wrong")
    with pytest.raises(tm.Retryable, match=r"refuses the request \(401: who are you\?\): check auth= and tls="):
        read(registry)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificates(folder)
    return folder


@pytest.mark.slow
def test_certificates_of_both_sides(serve: Callable[..., Guarded], folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    url = f"https://localhost:{serve(None, context).server_port}"
    mine = {"cert": str(folder / "client.pem"), "key": str(folder / "client.locked.key"), "password": "sesame"}
    assert read(tm.SchemaRegistry(url, tls={"ca": str(folder / "ca.pem"), **mine})) == "pen"  # pyright: ignore[reportArgumentType]
    with pytest.raises(tm.Retryable, match="does not answer"):
        read(tm.SchemaRegistry(url, tls=str(folder / "ca.pem")))
    with pytest.raises(tm.Retryable, match=r"(?i)certificate.verify.failed"):
        read(tm.SchemaRegistry(url, tls=mine))  # pyright: ignore[reportArgumentType]
