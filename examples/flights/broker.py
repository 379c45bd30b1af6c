"""The Kafka broker of the demo: the embedded one, or an existing one given by its address.

Also creates and deletes the topics of the demo. Their names begin with `tidemill-demo-`; no other topic is touched.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

PREFIX = "tidemill-demo"


class BrokerError(Exception):
    """The broker is not available or cannot be used; the message says what to do."""


def free_port() -> int:
    """Return a local port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EmbeddedBroker:
    """The embedded broker as a child process, with its data in a temporary directory."""

    def __init__(self) -> None:
        if find_spec("noida_db") is None:
            raise BrokerError(
                "the embedded broker is not installed (package noida-db; there are wheels for Linux with glibc, for "
                f"macOS on Apple silicon and for Windows; this is {platform.system()} on {platform.machine()}).\n"
                "Install it with: pip install 'tidemill[embedded]'\n"
                "or use an existing Kafka: make demo BROKER=localhost:9092"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="tidemill-demo-broker-"))
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self.address = self._start(attempts=3)
        except BaseException:
            self.close()
            raise

    def _start(self, attempts: int) -> str:
        """Start the broker on a free port, or on another one if that port was taken meanwhile."""
        log = self.folder / "broker.log"
        for _ in range(attempts):
            port = free_port()
            command = [sys.executable, "-m", "noida_db.cli", "start", "--only", "kafka"]
            command += ["--kafka-port", str(port), "--data-dir", str(self.folder / "data")]
            with log.open("ab") as out:
                # In a new session, so that Ctrl-C reaches only the demo, which stops its children in order.
                self._child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
            if self._ready(f"127.0.0.1:{port}", self._child, log):
                return f"127.0.0.1:{port}"
            terminate(self._child, timeout=5)
            if "in use" not in log.read_text(errors="replace"):
                break
        raise BrokerError(
            f"the embedded broker does not run on this machine. Its log ends with:\n{self.log_tail()}\n"
            "Use an existing Kafka instead: make demo BROKER=localhost:9092"
        )

    @staticmethod
    def _ready(address: str, child: subprocess.Popen[bytes], log: Path, seconds: float = 15) -> bool:
        """Wait until this child serves the address, according to its log.

        A successful connection is not enough: another process may have taken the port.
        """
        deadline = time.monotonic() + seconds
        while child.poll() is None and time.monotonic() < deadline:
            if address in log.read_text(errors="replace"):
                with suppress(BrokerError):
                    connect(address, 1)
                    return True
            time.sleep(0.1)
        return False

    def exited(self) -> bool:
        """Return whether the broker process has exited."""
        return self._child is None or self._child.poll() is not None

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        lines = (self.folder / "broker.log").read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-8:])

    def close(self) -> None:
        """Stop the broker and delete its data."""
        if self._child is not None:
            terminate(self._child, timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)


def terminate(child: subprocess.Popen[bytes], timeout: float) -> int:
    """Send SIGTERM to the child's session, SIGKILL after the timeout, and return its exit code."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def connect(address: str, timeout: float = 8) -> AdminClient:
    """Return an admin client of the broker; raise BrokerError if it does not answer."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.connection.setup.timeout.ms": 5000})
    try:
        admin.list_topics(timeout=timeout)
    except KafkaException as failure:
        raise BrokerError(
            f"no Kafka answers at {address} ({failure.args[0].str()}).\n"
            "Check that it is running and advertises this address. Without BROKER the demo starts an embedded broker."
        ) from failure
    return admin


def create_topics(admin: AdminClient, names: list[str], partitions: int, replicas: int) -> None:
    """Create the topics, after deleting those of an earlier demo that has ended."""
    delete_topics(admin)
    forever = {"retention.ms": "-1"}  # the records are of 2013: with a retention of a week they would be deleted
    topics = [NewTopic(name, partitions, replicas, config=forever) for name in names]
    for name, future in admin.create_topics(topics, operation_timeout=30).items():
        try:
            future.result()
        except KafkaException as failure:
            raise BrokerError(f"could not create the topic {name}: {failure.args[0].str()}") from failure


def delete_topics(admin: AdminClient) -> None:
    """Delete the topics of the demo, including internal ones, and its consumer group."""
    existing = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{PREFIX}-")]
    if not existing:
        return
    group = admin.describe_consumer_groups([PREFIX])[PREFIX].result()
    if group.state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN):
        raise BrokerError(
            "another demo uses this broker, or was killed less than a minute ago. Wait until it has ended, then retry"
        )
    _wait(admin.delete_topics(existing, operation_timeout=30).values())
    _wait(admin.delete_consumer_groups([PREFIX]).values())
    deadline = time.monotonic() + 15
    while not set(existing).isdisjoint(admin.list_topics(timeout=10).topics) and time.monotonic() < deadline:
        time.sleep(0.2)


def _wait(futures: Iterable[object]) -> None:
    for future in futures:
        with suppress(KafkaException):
            future.result()  # type: ignore[attr-defined]
