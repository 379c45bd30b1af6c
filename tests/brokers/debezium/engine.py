"""Debezium's engine with one connector: what it would write to Kafka, as bytes."""

from __future__ import annotations

import base64
import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.brokers.process import remove, tail, temporary_directory
from tests.support import maven

__all__ = ["Captured", "Engine", "why_not"]

VERSION = "3.2.0.Final"
ARTIFACTS = (
    f"io.debezium:debezium-embedded:{VERSION}",
    f"io.debezium:debezium-connector-postgres:{VERSION}",
    "org.slf4j:slf4j-simple:1.7.36",
)
SECONDS = 90.0


class Captured(NamedTuple):
    """A record as Debezium writes it."""

    topic: str
    key: bytes | None
    value: bytes | None


def why_not() -> str:
    """Why there can be none on this machine, or nothing; downloads it."""
    try:
        maven.java()
        _jars()
    except maven.Unavailable as reason:
        return str(reason)
    return ""


def _jars() -> Path:
    return maven.jars(f"debezium-{VERSION.removesuffix('.Final')}", ARTIFACTS)


class Engine:
    """A connector that runs until the end of the block."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read what is left of an ended process."""
        self._thread.join(20)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def take(self, count: int) -> list[Captured]:
        """The next records; heartbeats and the like are among them."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Captured:
        line = self._lines.get(timeout=SECONDS)
        if not line:
            raise RuntimeError("Debezium has ended")
        topic, key, value = line.rstrip("\n").split("\t")
        return Captured(topic, _data(key), _data(value))


def _data(text: str) -> bytes | None:
    return None if text == "-" else base64.b64decode(text)


@contextmanager
def running(settings: Mapping[str, str]) -> Iterator[Engine]:
    """An engine with the settings of a connector."""
    directory = temporary_directory("debezium")
    own = {
        "name": "tidemill",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        "offset.flush.interval.ms": "0",
        "schema.history.internal": "io.debezium.relational.history.MemorySchemaHistory",
        "topic.prefix": "shop",
    }
    path = directory / "settings"
    path.write_text("".join(f"{name}={value}\n" for name, value in {**own, **settings}.items()))
    classpath = os.pathsep.join(str(jar) for jar in sorted(_jars().glob("*.jar")))
    log = (directory / "log").open("w")
    command = [maven.java(), "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath]
    process = subprocess.Popen(
        [*command, str(Path(__file__).with_name("Capture.java")), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    made = Engine(process)
    try:
        yield made
    except queue.Empty:
        raise TimeoutError(f"Debezium gave no record; its log ends with:\n{tail(directory / 'log')}") from None
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        made.close()
        log.close()
        remove(directory)
