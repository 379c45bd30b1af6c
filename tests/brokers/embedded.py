"""The embedded development broker (noida-db), for machines with neither Java nor Docker.

It implements Kafka's protocol with transactions and read_committed, but not completely: it has no next-generation
groups and does not fence by group generation, so tests marked `kafka` do not run on it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tests.brokers import ports
from tests.brokers.jars import Unavailable
from tests.brokers.kafka import Kafka
from tests.brokers.process import Child, remove, spawn, temporary_directory


def check() -> None:
    if importlib.util.find_spec("noida_db") is None:
        raise Unavailable("the embedded broker is not installed (the extra `embedded`)")


class EmbeddedNode:
    def __init__(self, directory: Path, port: int) -> None:
        self.bootstrap = f"127.0.0.1:{port}"
        self.log = directory / "server.log"
        self._port = port
        self._data = directory / "data"
        self._child: Child | None = None

    def start(self) -> None:
        argv = [str(Path(sys.executable).with_name("noida-db")), "start", "--only", "kafka"]
        self._child = spawn([*argv, "--kafka-port", str(self._port), "--data-dir", str(self._data)], log=self.log)

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.wait(20)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        if self._child is not None:
            self._child.resume()


def start_one() -> Kafka:
    check()
    directory = temporary_directory("embedded")
    port = ports.reserve()
    node = EmbeddedNode(directory, port)

    def close() -> None:
        node.kill()
        remove(directory)
        ports.release(port)

    kafka = Kafka("embedded", node.bootstrap, [node], close=close)
    try:
        kafka.start()
    except BaseException:
        kafka.close()
        raise
    return kafka
