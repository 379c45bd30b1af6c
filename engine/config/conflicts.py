"""Rules between settings, and the sentences for violated ones. Pure."""

from __future__ import annotations

from typing import Protocol

from ...operators.time.durations import format_duration

__all__ = ["Conflicting", "conflicts"]


class Conflicting(Protocol):
    """The settings that have rules between them; durations in ms."""

    @property
    def heartbeat(self) -> int: ...
    @property
    def session_timeout(self) -> int: ...
    @property
    def rebalance_timeout(self) -> int: ...
    @property
    def commit_hold(self) -> int: ...
    @property
    def transaction_timeout(self) -> int: ...
    @property
    def commit_interval(self) -> int: ...
    @property
    def guarantee(self) -> str: ...
    @property
    def durability(self) -> str: ...
    @property
    def snapshots(self) -> str | None: ...
    @property
    def snapshot_interval(self) -> int: ...
    @property
    def transaction_limit(self) -> int: ...
    @property
    def near_leaders(self) -> bool: ...
    @property
    def rack(self) -> str | None: ...


def conflicts(settings: Conflicting) -> list[str]:
    """Return one sentence per violated rule between settings."""
    problems: list[str] = []
    show = format_duration
    if settings.heartbeat * 3 > settings.session_timeout:
        problems.append(
            f"heartbeat_interval ({show(settings.heartbeat)}) must be at most a third of session_timeout "
            f"({show(settings.session_timeout)}), or one lost heartbeat ends the membership: set it to "
            f"{show(settings.session_timeout // 3)!r} or less"
        )
    least = settings.rebalance_timeout + settings.commit_hold
    if settings.transaction_timeout <= least:
        problems.append(
            f"transaction_timeout ({show(settings.transaction_timeout)}) must be longer than rebalance_timeout and "
            f"commit_hold together ({show(least)}), or a rebalance makes transactions time out: set it to "
            f"{show(least * 2)!r}, or rebalance_timeout lower"
        )
    if settings.durability == "changelog" and settings.commit_interval * 2 > settings.transaction_timeout:
        problems.append(
            f"commit_interval ({show(settings.commit_interval)}) must be at most half of transaction_timeout "
            f"({show(settings.transaction_timeout)}), or the broker ends transactions before they are committed"
        )
    if settings.durability == "snapshot" and settings.snapshots is None:
        problems.append(
            'durability is "snapshot", so snapshots are the only copy of the state, but no snapshot store is '
            "configured: set snapshots to a URL that all processes reach, such as 's3://bucket/prefix' or "
            "'file:///mnt/backup'"
        )
    transactions = settings.durability == "snapshot" and settings.guarantee == "exactly_once"
    if transactions and settings.snapshot_interval * 2 > settings.transaction_limit:
        problems.append(
            f'with durability "snapshot", a transaction is open from one snapshot to the next, so snapshot_interval '
            f"({show(settings.snapshot_interval)}) must be at most half of the transaction's timeout "
            f"({show(settings.transaction_limit)}): set snapshot_interval to {show(settings.transaction_limit // 2)!r} "
            f"or less, or transaction_timeout to {show(settings.snapshot_interval * 3)!r} and the broker's "
            "transaction.max.timeout.ms to no less"
        )
    if settings.near_leaders and settings.rack is None:
        problems.append("near_leaders is on, but the rack of this process is not known: set rack as well")
    return problems
