"""The settings as `App(...)` takes them: what a type checker knows of its keyword arguments.

Which settings there are is declared in `settings.py`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from typing_extensions import TypedDict

from ...operators.time.durations import Duration
from .sizes import Size

__all__ = ["Arguments", "Guarantee", "MisplacedKeys"]

Guarantee: TypeAlias = Literal["exactly_once", "at_least_once"]
MisplacedKeys: TypeAlias = Literal["stop", "warn", "ignore"]


class Arguments(TypedDict, total=False):
    """The settings as `App(...)` takes them, the application id apart."""

    broker: str
    guarantee: Guarantee
    commit_interval: Duration
    workers: int | Literal["auto"]
    autoscale: str | None
    autoscale_quiet: Duration
    worker: int
    state_dir: str | Path
    state_memory: Size
    cache_bytes: Size
    max_batch: int
    max_buffer_bytes: Size
    idle: Duration
    stop_timeout: Duration
    instance_id: str | None
    session_timeout: Duration
    heartbeat_interval: Duration | None
    max_poll_interval: Duration
    rebalance_timeout: Duration
    commit_hold: Duration
    transaction_timeout: Duration
    standbys: int
    rack: str | None
    near_leaders: bool
    acceptable_lag: int
    warming_bytes: Size
    least_gain: float
    balance_interval: Duration
    replication_factor: int
    purge_interval: Duration
    metadata_interval: Duration
    misplaced_keys: MisplacedKeys
    topic_timeout: Duration
    connect_timeout: Duration
    retry_timeout: Duration
    librdkafka: Mapping[str, str | int | float | bool]
    web: int | None
    web_host: str
    log_format: Literal["auto", "text", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    log_summary: Duration
