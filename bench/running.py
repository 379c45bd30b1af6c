"""One job on one engine: its process, log, state directory and topics, and their cleanup."""

from __future__ import annotations

import os
import secrets
import shutil
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
    """The engine has ended unexpectedly or timed out; the message has the end of its log."""


@dataclass(frozen=True)
class Setup:
    """The settings of a job, in the same terms for all engines."""

    job: str
    guarantee: str
    commit_ms: int
    outputs: str
    kafka: Mapping[str, str] = field(default_factory=dict)


class Worker:
    """The process of an engine, in a new process group that is stopped as a whole."""

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
        """Raise Died if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise Died(f"exited with code {code}:\n{self._log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, timeout: float = 20.0) -> None:
        """Send SIGTERM, wait, and kill the remaining processes of the group."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


class Cluster:
    """The Kafka cluster of a run."""

    def __init__(self, broker: str, pid: int | None) -> None:
        self.broker = broker
        self.topics = Topics(broker)
        self._tree = Tree(pid) if pid is not None else None

    def broker_cpu(self) -> float:
        """Return the CPU seconds of the broker so far, 0 if it runs on another machine."""
        return self._tree.cpu() if self._tree is not None else 0.0


class Program:
    """A job on an engine, with a unique application id, output topic and state directory.

    Its topics and its directory are deleted at the end.
    """

    def __init__(self, cluster: Cluster, command: Sequence[str], setup: Setup, source: str) -> None:
        self._topics = cluster.topics
        self._source = source
        self.app = f"bench-{setup.job.lower()}-{secrets.token_hex(4)}"
        self.output = f"{self.app}-out"
        self._directory = tempfile.TemporaryDirectory(prefix="tidemill-bench-", ignore_cleanup_errors=True)
        home = self.directory = Path(self._directory.name)
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
        """Set the input topic."""
        self._source = source

    def start(self, *more: str) -> Worker:
        """Start the process, with additional arguments."""
        return Worker([*self._argv, f"input={self._source}", *more], self.log)

    def delete_state(self) -> None:
        """Delete the state directory, as on a new machine; no process may run."""
        shutil.rmtree(self.directory / "state", ignore_errors=True)

    def state_bytes(self) -> int:
        """Return the size of the state directory."""
        return sum(path.stat().st_size for path in (self.directory / "state").rglob("*") if path.is_file())

    def __enter__(self) -> Program:
        self._topics.create(self.output)
        return self

    def __exit__(self, *raised: object) -> None:
        self._topics.delete_containing(self.app)
        self._directory.cleanup()
