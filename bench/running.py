"""One engine at work on one job: its process, its log, its state directory, its topics, and the end of all of them."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Tree
from bench.topics import Topics

__all__ = ["Cluster", "Died", "Program", "Setup", "Worker"]


class Died(Exception):
    """The engine ended when it should not have; the text has the end of its log."""


@dataclass(frozen=True)
class Setup:
    """How a job is to be run: the same words for every engine."""

    job: str
    guarantee: str
    commit_ms: int
    outputs: str
    kafka: Mapping[str, str] = field(default_factory=dict)


class Worker:
    """A process that runs until it is told to stop.

    It leads a process group of its own, so that its children end with it.
    """

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.tree = Tree(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises Died when the process is no more."""
        code = self._process.poll()
        if code is not None:
            raise Died(f"ended with code {code}:\n{self._log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, patience: float = 20.0) -> None:
        """Asks it to stop, and kills what is left after that."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


class Cluster:
    """The Kafka that everything runs over."""

    def __init__(self, broker: str, pid: int | None) -> None:
        self.broker = broker
        self.topics = Topics(broker)
        self._tree = Tree(pid) if pid is not None else None

    def broker_cpu(self) -> float:
        """CPU seconds of the broker so far; 0 when it runs elsewhere."""
        return self._tree.cpu() if self._tree is not None else 0.0


class Program:
    """A job in an engine, under an application id of its own and with an output topic and a state directory of its
    own.

    At the end its topics and its directory are removed.
    """

    def __init__(self, cluster: Cluster, command: Sequence[str], setup: Setup, source: str) -> None:
        self._topics = cluster.topics
        self._source = source
        self.app = f"bench-{setup.job.lower()}-{secrets.token_hex(4)}"
        self.output = f"{self.app}-out"
        self._directory = tempfile.TemporaryDirectory(prefix="tidemill-bench-", ignore_cleanup_errors=True)
        home = Path(self._directory.name)
        self.log = home / "log"
        self._argv = [
            *command,
            f"job={setup.job}",
            f"broker={cluster.broker}",
            f"output={self.output}",
            f"app={self.app}",
            f"guarantee={setup.guarantee}",
            f"commit_ms={setup.commit_ms}",
            f"outputs={setup.outputs}",
            f"state_dir={home / 'state'}",
            *(f"kafka.{name}={value}" for name, value in setup.kafka.items()),
        ]

    def read_from(self, source: str) -> None:
        """Names the input topic."""
        self._source = source

    def start(self) -> Worker:
        return Worker([*self._argv, f"input={self._source}"], self.log)

    def __enter__(self) -> Program:
        self._topics.create(self.output)
        return self

    def __exit__(self, *raised: object) -> None:
        self._topics.remove_containing(self.app)
        self._directory.cleanup()
