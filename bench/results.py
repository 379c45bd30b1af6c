"""The results of a run, stored as one JSON file; report.py makes tables of them."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["Latency", "Phase", "Recovery", "Report", "Run", "Throughput", "load", "save"]

SCHEMA = 1


class Phase(msgspec.Struct, frozen=True):
    """A part of a run, with the CPU seconds of the engine's process tree and of the broker."""

    seconds: float
    records_per_second: float
    cpu_per_million: float
    broker_cpu_per_million: float
    others_cores: float
    """Cores kept busy by processes other than the engine, the broker and the benchmark."""


class Throughput(msgspec.Struct, frozen=True, tag="throughput"):
    whole: Phase
    warm: Phase
    """The second half of the input."""
    startup_seconds: float
    """From the launch of the process to a stable group."""
    peak_rss_mb: float
    outputs: int


class Latency(msgspec.Struct, frozen=True, tag="latency"):
    """The time from the call of the producer to the receipt by a read-committed consumer."""

    records_per_second: int
    seconds: float
    received: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    cpu_cores: float
    peak_rss_mb: float


class Recovery(msgspec.Struct, frozen=True, tag="recovery"):
    """The recovery of a process that was killed with SIGKILL."""

    keys: int
    first_output_seconds: float
    """From the start of the new process to its first committed output."""
    all_outputs_seconds: float
    """The same for the last of the partitions."""
    replayed: int | None
    """Records read from changelogs, None if the engine does not log it."""
    scenario: str = "kept"
    """`kept`: immediate restart with the state directory. `snapshot`, `changelog`: without it, in an empty group."""
    state_mb: float = 0.0
    """The size of the state directory at the kill."""
    cpu_seconds: float = 0.0
    """CPU time of the new process until all partitions have outputs."""


class Run(msgspec.Struct, frozen=True):
    engine: str
    version: str
    job: str
    guarantee: str
    commit_ms: int
    outputs: str
    round: int
    result: Throughput | Latency | Recovery | None
    """None if the run failed."""
    error: str = ""

    @property
    def contender(self) -> tuple[str, str]:
        return (self.engine, self.guarantee)


class Report(msgspec.Struct):
    command: str
    made: str
    """Date and time, UTC."""
    machine: str
    python: str
    broker: str
    source: str
    """The measured commit, followed by `+` if there were uncommitted changes."""
    records: int
    keys: int
    seed: int
    settings: dict[str, str]
    runs: list[Run]
    schema: int = SCHEMA


def save(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def load(path: Path) -> Report:
    """Read a report; raise msgspec.ValidationError if the file is not one."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
