"""Tests of OpenSearch as a target, on a real server: indices that do not fit, servers that refuse, arguments."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tests.brokers.opensearch import SearchServer

pytestmark = pytest.mark.slow
TASK = tm.TargetTask("app", "totals", "topic", "id", 0)
ROW = [tm.Record("a", {"n": 1}, 1_000, (), 0)]


@pytest.fixture
def index() -> str:
    """An index that no other test has."""
    return f"rows-{uuid.uuid4().hex[:12]}"


@contextmanager
def opened(server: SearchServer, index: str, task: tm.TargetTask = TASK) -> Iterator[tm.TargetSession]:
    one = tm.opensearch(server.url, index, positions=f"{index}-positions").open(task, uuid.uuid4().hex)
    try:
        one.position()
        yield one
    finally:
        one.close()


def set_index(server: SearchServer, index: str, **values: Any) -> None:
    with server.client() as client:
        client.indices.put_settings(index=index, body=values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"set index\.gc_deletes to 1h or more, PUT /rows"),
        ({"gc_deletes": "59m"}, r"set index\.gc_deletes to 1h or more"),
        ({"gc_deletes": "2d", "translog.durability": "async"}, r"set index\.translog\.durability to request"),
    ],
)
def test_an_index_that_may_lose_rows_is_refused(
    search: SearchServer, index: str, settings: dict[str, str], message: str
) -> None:
    with search.client() as client:
        client.indices.create(index=index, body={"settings": {"index": settings}})
    with pytest.raises(tm.ConfigError, match=message) as failure, opened(search, index):
        pass
    assert str(failure.value).startswith("step 'totals', tm.opensearch(index='rows-")
    set_index(search, index, **{"index.gc_deletes": "3600s", "index.translog.durability": "request"})
    with opened(search, index) as one:
        one.write(ROW, 1)
    assert search.rows(index) == {"a": {"n": 1}}


def test_positions_in_memory_are_refused(search: SearchServer, index: str) -> None:
    with opened(search, index):
        pass
    set_index(search, f"{index}-positions", **{"index.translog.durability": "async"})
    with pytest.raises(tm.ConfigError, match="-positions' has its last writes in memory only"), opened(search, index):
        pass


def test_an_alias_is_written_as_its_index(search: SearchServer, index: str) -> None:
    with search.client() as client:
        client.indices.create(
            index=f"{index}-1", body={"settings": {"index": {"gc_deletes": "1d"}}, "aliases": {index: {}}}
        )
    with opened(search, index) as one:
        one.write(ROW, 1)
    assert search.rows(f"{index}-1") == {"a": {"n": 1}}


def test_an_index_that_cannot_be_written_is_unavailable(search: SearchServer, index: str) -> None:
    with opened(search, index) as one, search.client() as client:
        for blocks in ("write", "read_only_allow_delete"):
            set_index(search, index, **{f"index.blocks.{blocks}": True})
            with pytest.raises(tm.TargetUnavailable, match=r"blocked by: \["):
                one.write(ROW, 1)
            set_index(search, index, **{f"index.blocks.{blocks}": None})
        client.indices.close(index=index)
        with pytest.raises(tm.TargetUnavailable, match="index_closed_exception"):
            one.write(ROW, 1)
        client.indices.open(index=index)


def test_an_index_whose_positions_were_deleted_is_refused(search: SearchServer, index: str) -> None:
    """Versions would begin again, and be lower than those of its documents."""
    with opened(search, index) as one:
        one.write(ROW, 1)
    with search.client() as client:
        client.indices.delete(index=f"{index}-positions")
        with (
            pytest.raises(tm.ConfigError, match="have versions of a sink"),
            opened(search, index),
        ):
            pass
        client.indices.delete(index=index)
    with opened(search, index) as one:
        one.write(ROW, 1)
    assert search.rows(index) == {"a": {"n": 1}}


def test_positions_that_are_deleted_meanwhile_fence_the_owner(search: SearchServer, index: str) -> None:
    with opened(search, index) as one:
        with search.client() as client:
            client.indices.delete(index=f"{index}-positions")
        with pytest.raises(tm.TargetFenced):
            one.write(ROW, 1)
        with pytest.raises(tm.TargetFenced):
            one.position()


def test_an_index_that_is_gone_and_is_not_made_by_itself(search: SearchServer, index: str) -> None:
    with opened(search, index) as one, search.client() as client:
        client.indices.delete(index=index)
        client.cluster.put_settings(body={"transient": {"action.auto_create_index": False}})
        try:
            with pytest.raises(tm.ConfigError, match="no such index"):
                one.write(ROW, 1)
        finally:
            client.cluster.put_settings(body={"transient": {"action.auto_create_index": None}})


class Refusing(BaseHTTPRequestHandler):
    """Answers each request with the status of its server."""

    def do_GET(self) -> None:
        self.send_response(getattr(self.server, "status"))  # noqa: B009
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def refusing(status: int, certificate: Path | None = None) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    server.status = status  # pyright: ignore[reportAttributeAccessIssue]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def self_signed(directory: Path) -> Path:
    """Return a file with a key and a certificate of it for this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("left out: openssl is not installed, so no certificate can be created")
    what = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    argv = ["openssl", *what.split(), "-keyout", "both.pem", "-out", "certificate.pem"]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_text(both.read_text() + (directory / "certificate.pem").read_text())
    return both


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, tm.ConfigError) for status in (401, 403, 400, 413)),
        *((status, tm.TargetUnavailable) for status in (429, 500, 502, 503, 504)),
    ],
)
def test_servers_that_refuse(status: int, kind: type[Exception]) -> None:
    with refusing(status) as port:
        target = tm.opensearch(f"http://user:secret@127.0.0.1:{port}", "rows")
        with pytest.raises(kind, match=str(status)) as failure:
            target.open(TASK, "epoch")
    error: BaseException | None = failure.value
    while error is not None:
        assert "secret" not in f"{error}{error!r}"
        error = error.__cause__


def test_a_server_with_a_certificate_that_nobody_has_signed(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with refusing(503, certificate) as port:
        with pytest.raises(tm.ConfigError, match=r"certificate verify failed.*ca_certs="):
            tm.opensearch(f"https://127.0.0.1:{port}", "rows").open(TASK, "epoch")
        with pytest.raises(tm.TargetUnavailable, match="503"):
            tm.opensearch(f"https://127.0.0.1:{port}", "rows", ca_certs=str(certificate)).open(TASK, "epoch")
        with pytest.raises(tm.ConfigError, match="there is no file"):
            tm.opensearch(f"https://127.0.0.1:{port}", "rows", ca_certs=str(tmp_path / "no")).open(TASK, "epoch")
    with refusing(503) as port, pytest.raises(tm.TargetUnavailable, match="SSL"):
        tm.opensearch(f"https://127.0.0.1:{port}", "rows").open(TASK, "epoch")


def test_what_cannot_be_is_refused_when_the_program_is_written() -> None:
    app = tm.App("shop")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    good = tm.opensearch("https://ann:secret@localhost", "views")
    with pytest.raises(tm.TopologyError, match=r"\.to_table\(\)"):
        views.sink(good)
    with pytest.raises(tm.TopologyError, match="the values are no objects"):
        app.table("names", key=tm.utf8, value=tm.utf8).sink(good)
    urls = (
        "localhost:9200",
        "redis://localhost",
        "http://",
        "http://host:port",
        "http://ann@localhost",
        "http://a?b=c",
    )
    for wrong in (*((url, "views") for url in urls), ("http://localhost", "Views"), ("http://localhost", "_x")):
        with pytest.raises(tm.TopologyError, match=r"tm\.opensearch\("):
            tm.opensearch(*wrong)
    with pytest.raises(tm.TopologyError, match="positions need another index"):
        tm.opensearch("http://localhost", "views", positions="views")
    assert repr(good) == "opensearch(index='views')"
