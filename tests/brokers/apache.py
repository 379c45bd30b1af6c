"""Run the real Apache Kafka from the jars in the cache, one JVM per node.

Settings, data and logs are in one temporary directory, and the ports are reserved for this run, so any number of
brokers and test runs can run at once.
"""

from __future__ import annotations

import base64
import signal
import subprocess
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.brokers import jars, ports
from tests.brokers.kafka import Kafka
from tests.brokers.process import Child, remove, spawn, temporary_directory
from tests.brokers.settings import NodeAddress, properties_text, server_properties
from tests.brokers.ways import Way

# Short-lived JVMs on few cores: only the C1 compiler and one collector thread halve the CPU time of a start.
_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils=warn",
    "-Dorg.slf4j.simpleLogger.log.state.change.logger=warn",
)
_HERE = "127.0.0.1"


class JvmNode:
    """One Kafka server process and its directory."""

    def __init__(self, directory: Path, bootstrap: str, properties: Mapping[str, str], heap_mb: int) -> None:
        directory.mkdir(parents=True)
        self.bootstrap = bootstrap
        self.log = directory / "server.log"
        self._directory = directory
        self._heap_mb = heap_mb
        self._settings = directory / "server.properties"
        self._settings.write_text(properties_text(properties))
        self._child: Child | None = None

    def format(self, cluster_id: str) -> None:
        argv = [jars.java(), *_JVM, "-cp", jars.classpath(), "kafka.tools.StorageTool"]
        result = subprocess.run(
            [*argv, "format", "-t", cluster_id, "-c", str(self._settings)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"Kafka could not format {self._directory}:\n{result.stdout}{result.stderr}")

    def start(self) -> None:
        argv = [jars.java(), f"-Xmx{self._heap_mb}m", *_JVM, *_LOGGING, "-cp", jars.classpath(), "kafka.Kafka"]
        self._child = spawn([*argv, str(self._settings)], log=self.log, cwd=self._directory)

    @property
    def pid(self) -> int:
        return self._running().pid

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        if self.alive():
            self.resume()
            self._running().terminate()
            try:
                self._running().wait(20)
            except TimeoutError:  # without a quorum, a controlled shutdown waits for minutes
                self.kill()

    def kill(self) -> None:
        if self.alive():
            self._running().kill()

    def pause(self) -> None:
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"the broker at {self.bootstrap} was not started")
        return self._child


def start_one(
    *, settings: Mapping[str, str] | None = None, ways: int = 0, heap_mb: int = 512, host: str = _HERE
) -> Kafka:
    """One broker, ready. `ways` lead to it by TCP proxies, each before a listener of its own."""
    return _start(1, settings, heap_mb, ways, host)


def start_three(*, settings: Mapping[str, str] | None = None, heap_mb: int = 320, ways: int = 0) -> Kafka:
    """Three brokers, ready: everything replicated threefold, min.insync.replicas 2. `ways` lead to them by proxies."""
    return _start(3, settings, heap_mb, ways)


def _start(count: int, settings: Mapping[str, str] | None, heap_mb: int, ways: int, host: str = _HERE) -> Kafka:
    jars.classpath()  # before anything is created: this may download, or raise Unavailable
    opened = [Way.open(count) for _ in range(ways)]
    addresses = [
        NodeAddress(host, ports.reserve(), ports.reserve(), tuple(way.ports(number) for way in opened))
        for number in range(count)
    ]
    directory = temporary_directory("kafka")
    cluster_id = (
        base64.urlsafe_b64encode(b"test" + uuid.uuid4().bytes[4:]).decode().rstrip("=")
    )  # must not begin with "-"
    nodes: list[JvmNode] = []
    for number, address in enumerate(addresses, 1):
        home = directory / f"node-{number}"
        properties = server_properties(number, addresses, str(home / "data"), settings)
        nodes.append(JvmNode(home, f"{address.host}:{address.port}", properties, heap_mb))

    def close() -> None:
        for node in nodes:
            node.kill()
        remove(directory)
        for address in addresses:
            for port in (address.port, address.controller_port):
                ports.release(port)

    kafka = Kafka("apache", ",".join(node.bootstrap for node in nodes), nodes, close=close, ways=opened)
    try:
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: node.format(cluster_id), nodes))
        kafka.start()
    except BaseException:
        kafka.close()
        raise
    return kafka
