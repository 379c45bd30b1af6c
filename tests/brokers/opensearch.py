"""Run an OpenSearch server for the tests, from Maven's jars, in a temporary directory on reserved ports."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch as Client
from opensearchpy.exceptions import TransportError

from tests.brokers import ports
from tests.brokers.process import Child, remove, spawn, tail, temporary_directory
from tests.support import maven

__all__ = ["OPENSEARCH_VERSION", "SearchServer", "running", "why_not"]

OPENSEARCH_VERSION = "2.19.6"
ARTIFACTS = (
    f"org.opensearch:opensearch:{OPENSEARCH_VERSION}",
    f"org.opensearch.plugin:transport-netty4-client:{OPENSEARCH_VERSION}",
    "org.apache.logging.log4j:log4j-core:2.25.4",
)
PROGRAM = Path(__file__).with_name("OpenSearchServer.java")
_JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true")
SECONDS = 120.0

logging.getLogger("opensearch").setLevel(logging.CRITICAL)  # a traceback for each request that fails


def why_not() -> str:
    """Return why none can run on this machine, or nothing; downloads it."""
    try:
        maven.java()
        _jars()
    except maven.Unavailable as reason:
        return str(reason)
    return ""


def _jars() -> Path:
    return maven.jars(f"opensearch-{OPENSEARCH_VERSION}", ARTIFACTS)


class SearchServer:
    """A server with one node, with its data in a directory."""

    def __init__(self, directory: Path, port: int, inner: int, settings: Sequence[str]) -> None:
        self._directory = directory
        self._inner = inner
        self._settings = settings
        self._child: Child | None = None
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        return Client(hosts=[self.url], timeout=30, max_retries=0)

    def rows(self, index: str) -> dict[str, Any]:
        """Return the documents of an index by their ids; none if it does not exist."""
        with self.client() as client:
            if not client.indices.exists(index=index):
                return {}
            client.indices.refresh(index=index)
            found = client.search(index=index, body={"size": 10_000})
        return {one["_id"]: one["_source"] for one in found["hits"]["hits"]}

    def version(self, index: str, name: str) -> int:
        with self.client() as client:
            return client.get(index=index, id=name)["_version"]

    def start(self) -> None:
        """Start it, and wait until its indices can be written."""
        places = (str(self._directory / "data"), str(self.port), str(self._inner))
        argv = [maven.java(), *_JVM, "-cp", f"{_jars()}/*", str(PROGRAM), *places, *self._settings]
        log = self._directory / "log"
        self._child = child = spawn(argv, log=log, cwd=self._directory)
        deadline = time.monotonic() + SECONDS
        with self.client() as client:
            while True:
                with suppress(TransportError):  # it does not listen yet, or has no leader
                    if client.cluster.health()["status"] != "red":
                        return
                if child.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"OpenSearch did not come up:\n{tail(log)}")
                time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        assert self._child is not None
        self._child.pause()

    def resume(self) -> None:
        assert self._child is not None
        self._child.resume()


@contextmanager
def running(*settings: str) -> Iterator[SearchServer]:
    """Run a server until the end of the block; settings are `name=value`. Raises Unavailable."""
    directory = temporary_directory("opensearch")
    server = SearchServer(directory, ports.reserve(), ports.reserve(), settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        remove(directory)
