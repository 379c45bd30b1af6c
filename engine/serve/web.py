"""A small HTTP server for monitors: `/metrics`, `/health/live` and `/health/ready`.

It runs in a separate thread, plus one per request, and only reads. Its pages are functions, so the supervisor serves
the metrics of all workers with the same server. There is no authentication: it binds to the loopback address unless
configured otherwise. Connections use file descriptors, which the process needs for its state, so there are at most
`MOST_CONNECTIONS` at a time, each for one request and for at most `REQUEST_SECONDS`.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ..errors import ConfigError
from ..threads import Thread
from .health import Health

__all__ = ["HttpResponse", "Page", "WebServer", "listen", "pages"]

LOG: Final = logging.getLogger("tidemill.web")

REQUEST_SECONDS: Final = 10.0
"""How long a client may take to send its request and read the response."""
MOST_CONNECTIONS: Final = 32
"""Further connections are closed at once."""

PLAIN: Final = "text/plain; charset=utf-8"


class HttpResponse(NamedTuple):
    """The response of a page."""

    status: int
    content_type: str
    body: bytes


Page: TypeAlias = Callable[[str], HttpResponse]
"""Maps the request's Accept header to a response."""


def pages(registry: CollectorRegistry, live: Callable[[], Health], ready: Callable[[], Health]) -> Mapping[str, Page]:
    """Return the pages to serve, by path."""

    def metrics(accept: str) -> HttpResponse:
        encode, content_type = choose_encoder(accept)
        return HttpResponse(200, content_type, encode(registry))

    return {
        "/metrics": metrics,
        "/health/live": lambda accept: health(live()),
        "/health/ready": lambda accept: health(ready()),
    }


def health(found: Health) -> HttpResponse:
    """Return status 200 or 503, with the reason as text."""
    return HttpResponse(200 if found.ok else 503, PLAIN, f"{found.reason}\n".encode())


def listen(host: str, port: int, purpose: str = "serve metrics") -> socket.socket:
    """Return a listening socket. Raises ConfigError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why, fix = "another process listens there", "choose another port, or 0 for a free one"
        else:
            why, fix = str(error.strerror or error), "choose an address of this machine and a port you may use"
        raise ConfigError(f"cannot {purpose} at {host}:{port}: {why}; {fix}") from error


class HttpHandler(BaseHTTPRequestHandler):
    """Answers one GET or HEAD request, without logging to standard error."""

    timeout = REQUEST_SECONDS
    protocol_version = "HTTP/1.1"

    def __init__(self, served: Mapping[str, Page], *connection: Any) -> None:
        self._served = served
        super().__init__(*connection)

    def do_GET(self) -> None:
        answer = self._answer()
        self._head(answer)
        self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self._head(self._answer())

    def _answer(self) -> HttpResponse:
        page = self._served.get(self.path.partition("?")[0])
        if page is None:
            return HttpResponse(404, PLAIN, f"pages: {' '.join(self._served)}\n".encode())
        try:
            return page(self.headers.get("Accept", ""))
        except Exception:
            LOG.exception("the page %s failed", self.path)
            return HttpResponse(500, PLAIN, b"this page failed; see the log\n")

    def _head(self, answer: HttpResponse) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class HttpServer(ThreadingHTTPServer):
    """One thread per connection, on a listening socket that the caller opened."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, served: Mapping[str, Page]) -> None:
        super().__init__(listening.getsockname()[:2], partial(HttpHandler, served), bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._opened: dict[socket.socket, float] = {}
        """When each connection was opened. The lock covers the close, so that none is shut down after it."""
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._opened) >= MOST_CONNECTIONS
            if not full:
                self._opened[request] = time.monotonic()
        if full:
            super().shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._opened.pop(request, None)
            super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that take too long: their threads find them closed."""
        with self._lock:
            for connection, since in self._opened.items():
                if time.monotonic() - since > REQUEST_SECONDS:
                    with suppress(OSError):  # the client has disconnected
                        connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects."""


class WebServer:
    """Serves pages on a listening socket until it is closed."""

    def __init__(self, listening: socket.socket, served: Mapping[str, Page]) -> None:
        self.host, self.port = listening.getsockname()[:2]
        self._server = HttpServer(listening, served)
        self._thread = Thread("tidemill-web", lambda: self._server.serve_forever(0.1))
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
