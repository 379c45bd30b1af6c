"""What a run of the bench leaves: one JSON file whose schema is these types. Tables are made from it in report.py."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["Latency", "Phase", "Recovery", "Report", "Run", "Throughput", "load", "save"]

SCHEMA = 1


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a run. CPU seconds are those of the engine's whole process tree; the broker's stand apart."""

    seconds: float
    records_per_second: float
    cpu_per_million: float
    broker_cpu_per_million: float
    others_cores: float
    """Cores that were busy with what is neither engine nor broker nor bench."""


class Throughput(msgspec.Struct, frozen=True, tag="throughput"):
    whole: Phase
    warm: Phase
    """The second half of the input."""
    startup_seconds: float
    """From the launch of the process to a stable group."""
    peak_rss_mb: float
    outputs: int


class Latency(msgspec.Struct, frozen=True, tag="latency"):
    """From before the producer's call to the receipt by a read_committed consumer."""

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
    """A process killed by SIGKILL and started again at once with its state directory."""

    keys: int
    first_output_seconds: float
    """From the start of the new process to its first committed output."""
    all_outputs_seconds: float
    """The same for the last of the partitions."""
    replayed: int | None
    """Records read back from changelogs, if the engine says."""


class Run(msgspec.Struct, frozen=True):
    engine: str
    version: str
    job: str
    guarantee: str
    commit_ms: int
    outputs: str
    round: int
    result: Throughput | Latency | Recovery | None
    """None when it failed."""
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
    """The commit measured, with `+` for changes on top."""
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
    """Reads a report back; raises msgspec.ValidationError when it is not one."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
