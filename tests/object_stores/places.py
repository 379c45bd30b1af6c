"""Where a test keeps its snapshots: a folder in a store, by a URL and the variables that tell a client the server.

Each kind of server is imported when it is asked for first, because their packages take long to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

__all__ = ["Place", "Places", "Server", "servers"]

_MODULES = {"s3": "s3", "s3-apart": "s3_apart", "gs": "gcs", "abfs": "azure", "hdfs": "hdfs"}


@dataclass(frozen=True)
class Place:
    """A folder in a store."""

    url: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


class Server(Protocol):
    """A running store."""

    @property
    def url(self) -> str: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    def close(self) -> None: ...


class Places:
    """The stores of a test run."""

    def __init__(self, ending: ExitStack) -> None:
        self._ending = ending
        self._servers: dict[str, Server] = {}

    def server(self, scheme: str) -> Server:
        """Return the store of this scheme. Raises Unavailable if it cannot run on this machine."""
        server = self._servers.get(scheme)
        if server is None:
            server = self._servers[scheme] = import_module(f"tests.object_stores.{_MODULES[scheme]}").start()
            self._ending.callback(server.close)
        return server

    def at(self, scheme: str, folder: str) -> Place:
        """A folder of this name. Raises Unavailable."""
        server = self.server(scheme)
        return Place(f"{server.url}/{folder}", server.environment)


@contextmanager
def servers() -> Iterator[Places]:
    """The stores, which end with the block."""
    with ExitStack() as ending:
        yield Places(ending)
