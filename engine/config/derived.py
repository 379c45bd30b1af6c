"""Values that follow from several settings. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from .worker_bounds import WorkerBounds

__all__ = ["Derived"]

HEARTBEAT_MS: Final = 3_000
BROKERS_LIMIT_MS: Final = 900_000
"""Default of the broker's `transaction.max.timeout.ms`."""


class Derived:
    """What the engine uses in place of single settings; durations in ms."""

    app_id: str
    state_dir: Path
    worker: int
    workers: int | Literal["auto"]
    autoscale: WorkerBounds | None
    guarantee: Literal["exactly_once", "at_least_once"]
    durability: Literal["changelog", "snapshot"]
    commit_interval: int
    snapshot_interval: int
    transaction_timeout: int
    session_timeout: int
    heartbeat_interval: int | None
    instance_id: str | None

    @property
    def worker_dir(self) -> Path:
        """The directory of this process."""
        return self.state_dir / self.app_id / f"worker-{self.worker}"

    @property
    def changelogs(self) -> bool:
        """Whether stores have changelogs."""
        return self.durability == "changelog"

    @property
    def interval(self) -> int:
        """How often a commit is made, in ms."""
        return self.commit_interval if self.changelogs else self.snapshot_interval

    @property
    def transaction_limit(self) -> int:
        """Time after which the broker ends a transaction, in ms: `transaction_timeout`, or more."""
        if self.changelogs or self.guarantee == "at_least_once":
            return self.transaction_timeout
        return max(self.transaction_timeout, min(3 * self.snapshot_interval, BROKERS_LIMIT_MS))

    @property
    def supervised(self) -> bool:
        """True if a supervisor runs the workers, of which there may be one."""
        return self.workers != 1 or self.autoscale is not None

    @property
    def heartbeat(self) -> int:
        """How often a member sends a heartbeat, in ms."""
        return self.heartbeat_interval or min(HEARTBEAT_MS, self.session_timeout // 3)

    @property
    def member_instance_id(self) -> str | None:
        """The group.instance.id of this process, None for a dynamic member."""
        if self.instance_id is None or not self.supervised:
            return self.instance_id
        return f"{self.instance_id}-{self.worker}"
