"""The interface of tests to brokers of any kind: `Kafka` (one address, several nodes) and `Node` (one process).

apache.py, compose.py and embedded.py implement nodes; choice.py decides which kind a test run uses.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.brokers.process import tail
from tests.brokers.proxy import Proxy
from tests.brokers.ways import Way

Kind = Literal["running", "apache", "compose", "embedded"]


class Node(Protocol):
    """One broker process. After `kill` or `stop`, `restart` brings it back on the same port with the same data."""

    @property
    def bootstrap(self) -> str: ...
    @property
    def log(self) -> Path: ...
    def start(self) -> None: ...
    def alive(self) -> bool: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Kafka:
    """A cluster with one address. Stopping, killing and pausing act on all nodes; use `nodes[i]` for one."""

    def __init__(
        self,
        kind: Kind,
        bootstrap: str,
        nodes: Sequence[Node] = (),
        *,
        close: Callable[[], None] = lambda: None,
        ways: Sequence[Way] = (),
    ) -> None:
        self.kind: Kind = kind
        self.bootstrap = bootstrap
        self.nodes = tuple(nodes)
        self._close = close
        self.ways = tuple(ways)

    @property
    def real(self) -> bool:
        """Whether this is Apache Kafka (assumed for a broker that was already running)."""
        return self.kind != "embedded"

    @property
    def proxy(self) -> Proxy:
        """The proxy in front of a broker that was started with one route."""
        if len(self.ways) != 1 or len(self.nodes) != 1:
            raise ValueError("this broker was started without a proxy")
        return self.ways[0].proxies[0]

    @property
    def proxied_bootstrap(self) -> str:
        """The bootstrap address of clients whose connections all go through the proxy."""
        return self.proxy.address

    @property
    def log(self) -> Path:
        """The log of the only node, or of the first."""
        return self.nodes[0].log

    def start(self, timeout: float = 60.0) -> None:
        for node in self.nodes:
            node.start()
        self.wait_ready(timeout)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until every live node responds and all of them are in the cluster."""
        deadline = time.monotonic() + timeout
        living = [node for node in self.nodes if node.alive()]
        for node in living:
            _wait_for_port(node, deadline)
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while True:
            try:
                if len(admin.list_topics(timeout=5).brokers) >= max(1, len(living)):
                    return
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no broker responds at {self.bootstrap}: {error}") from error
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"after {timeout:g} s not all of the {len(living)} brokers at {self.bootstrap} are in the cluster"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop gracefully (SIGTERM)."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """Kill (SIGKILL)."""
        for node in self.nodes:
            node.kill()

    def restart(self, timeout: float = 60.0) -> None:
        """Start the nodes that are down, or restart all nodes if none is down.

        Ports and data stay the same. Returns when the cluster is ready.
        """
        if all(node.alive() for node in self.nodes):
            self.stop()
        for node in self.nodes:
            if not node.alive():
                node.start()
        self.wait_ready(timeout)

    def pause(self) -> None:
        """Pause (SIGSTOP): connections stay open, requests get no response."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        for node in self.nodes:
            node.resume()

    def close(self) -> None:
        """Stop the brokers and remove their data."""
        for way in self.ways:
            way.close()
        self._close()


def _wait_for_port(node: Node, deadline: float) -> None:
    host, _, port = node.bootstrap.rpartition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if not node.alive():
                raise RuntimeError(
                    f"the broker at {node.bootstrap} ended while starting; its log ends with:\n{tail(node.log)}"
                ) from None
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the broker at {node.bootstrap} does not listen; its log ends with:\n{tail(node.log)}"
                ) from None
            time.sleep(0.05)
