"""The Kafka cluster of a run: an existing one, or a temporary one that is started for it.

It is the Apache Kafka of the tests with their broker settings, but with the default settings of the JVM: those of the
tests are tuned for a short startup time.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import listener_pid
from bench.running import Cluster
from tests.brokers import jars, ports
from tests.brokers.process import Child, remove, spawn, tail, temporary_directory
from tests.brokers.settings import NodeAddress, properties_text, server_properties

__all__ = ["running"]

_HEAP = ("-Xms768m", "-Xmx768m")
_SETTINGS = {
    "log.retention.ms": "-1",
    "log.retention.check.interval.ms": "300000",
    "log.segment.delete.delay.ms": "10000",
}


@contextmanager
def running(address: str | None) -> Iterator[tuple[Cluster, str]]:
    """Yield the cluster and its description; stop the cluster at the end if it was started here."""
    if address is not None:
        yield Cluster(address, listener_pid(address)), f"the Kafka at {address.partition(':')[0]}"
        return
    home = temporary_directory("bench-kafka")
    place = NodeAddress("127.0.0.1", ports.reserve(), ports.reserve())
    child: Child | None = None
    try:
        child = _start(home, place)
        yield (
            Cluster(f"{place.host}:{place.port}", child.pid),
            f"Apache Kafka {jars.KAFKA_VERSION}, one node, on the same cores",
        )
    finally:
        if child is not None:
            child.kill()
        remove(home)
        ports.release(place.port)
        ports.release(place.controller_port)


def _start(home: Path, place: NodeAddress) -> Child:
    settings = home / "server.properties"
    settings.write_text(properties_text(server_properties(1, [place], str(home / "data"), _SETTINGS)))
    java = [jars.java(), *_HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars.classpath()]
    cluster_id = base64.urlsafe_b64encode(b"bench" + uuid.uuid4().bytes[5:]).decode().rstrip("=")
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    child = spawn([*java, "kafka.Kafka", str(settings)], log=home / "log", cwd=home)
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((place.host, place.port)) == 0:
                return child
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise RuntimeError(f"Kafka did not start:\n{tail(home / 'log')}")
        time.sleep(0.1)
