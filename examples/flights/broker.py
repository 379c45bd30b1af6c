"""Where Kafka comes from: the embedded broker in a directory of its own, or a broker the person named.

Also makes the demo's topics and takes them away. All begin with `tidemill-demo-`; nothing else on a broker is touched.
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


class NoBroker(Exception):
    """There is no Kafka to run on; the message says what to do."""


def free_port() -> int:
    """A port of this machine that no one listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Embedded:
    """The embedded broker as a child process. Its data live in a temporary directory and go with it."""

    def __init__(self) -> None:
        if find_spec("noida_db") is None:
            raise NoBroker(
                "the embedded broker is not installed (package noida-db; there are wheels for Linux with glibc, for "
                f"macOS on Apple silicon and for Windows; this is {platform.system()} on {platform.machine()}).\n"
                "Install it with: pip install 'tidemill[embedded]'\n"
                "or name a Kafka of yours: make demo BROKER=localhost:9092"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="tidemill-demo-broker-"))
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self.address = self._start(attempts=3)
        except BaseException:
            self.close()
            raise

    def _start(self, attempts: int) -> str:
        """Starts it on a free port; should someone take the port in between, on another one."""
        log = self.folder / "broker.log"
        for _ in range(attempts):
            port = free_port()
            command = [sys.executable, "-m", "noida_db.cli", "start", "--only", "kafka"]
            command += ["--kafka-port", str(port), "--data-dir", str(self.folder / "data")]
            with log.open("ab") as out:
                # A session of its own: Ctrl-C is for the demo, which stops its children in order.
                self._child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
            if self._ready(f"127.0.0.1:{port}", self._child, log):
                return f"127.0.0.1:{port}"
            end(self._child, patience=5)
            if "in use" not in log.read_text(errors="replace"):
                break
        raise NoBroker(
            f"the embedded broker does not run on this machine. Its last words:\n{self.last_words()}\n"
            "Name a Kafka of yours instead: make demo BROKER=localhost:9092"
        )

    @staticmethod
    def _ready(address: str, child: subprocess.Popen[bytes], log: Path, seconds: float = 15) -> bool:
        """Waits until this very child serves the address: it says so once it does. That somebody answers there is not
        enough, it may be the one who took the port."""
        deadline = time.monotonic() + seconds
        while child.poll() is None and time.monotonic() < deadline:
            if address in log.read_text(errors="replace"):
                with suppress(NoBroker):
                    reach(address, 1)
                    return True
            time.sleep(0.1)
        return False

    def failed(self) -> bool:
        """True when the broker has ended by itself."""
        return self._child is None or self._child.poll() is not None

    def last_words(self) -> str:
        """The end of its log."""
        lines = (self.folder / "broker.log").read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-8:])

    def close(self) -> None:
        """Stops it and removes its data."""
        if self._child is not None:
            end(self._child, patience=5)
        shutil.rmtree(self.folder, ignore_errors=True)


def end(child: subprocess.Popen[bytes], patience: float) -> int:
    """Asks a child that leads its own session to stop, then insists; gives the exit code. Its own children go too."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(patience)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def reach(address: str, timeout: float = 8) -> AdminClient:
    """An admin client for a broker that answers; NoBroker when none does."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.connection.setup.timeout.ms": 5000})
    try:
        admin.list_topics(timeout=timeout)
    except KafkaException as failure:
        raise NoBroker(
            f"no Kafka answers at {address} ({failure.args[0].str()}).\n"
            "Is it running, and is that the address it advertises? Without BROKER the demo starts one by itself."
        ) from failure
    return admin


def make_topics(admin: AdminClient, names: list[str], partitions: int, copies: int) -> None:
    """Makes the topics afresh. What an earlier demo left on a broker is removed first, unless it still runs."""
    remove_topics(admin)
    forever = {"retention.ms": "-1"}  # the records are of 2013: a broker with a retention of a week would delete them
    wanted = [NewTopic(name, partitions, copies, config=forever) for name in names]
    for name, future in admin.create_topics(wanted, operation_timeout=30).items():
        try:
            future.result()
        except KafkaException as failure:
            raise NoBroker(f"could not make the topic {name}: {failure.args[0].str()}") from failure


def remove_topics(admin: AdminClient) -> None:
    """Removes the topics and the consumer group of this demo, its internal topics included."""
    left = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{PREFIX}-")]
    if not left:
        return
    group = admin.describe_consumer_groups([PREFIX])[PREFIX].result()
    if group.state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN):
        raise NoBroker(
            "another demo runs on that broker, or was killed there less than a minute ago. One at a time: wait for it"
        )
    _wait(admin.delete_topics(left, operation_timeout=30).values())
    _wait(admin.delete_consumer_groups([PREFIX]).values())
    deadline = time.monotonic() + 15
    while not set(left).isdisjoint(admin.list_topics(timeout=10).topics) and time.monotonic() < deadline:
        time.sleep(0.2)


def _wait(futures: Iterable[object]) -> None:
    for future in futures:
        with suppress(KafkaException):
            future.result()  # type: ignore[attr-defined]
