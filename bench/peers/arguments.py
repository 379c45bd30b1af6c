"""The `name=value` arguments of the programs, the same for all engines.

This is the only module of the benchmark that the programs import.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

__all__ = ["Arguments", "read"]


class Arguments(NamedTuple):
    job: str
    broker: str
    input: str
    output: str
    app: str
    guarantee: str
    commit_ms: int
    outputs: str
    state_dir: str
    snapshots: str
    """The URL of the snapshot store; empty for none."""
    session_ms: int
    """The session timeout; 0 for the default of the engine."""
    kafka: dict[str, str]
    """Settings of the engine's Kafka clients, given as kafka.<name>=<value>."""

    @property
    def exactly_once(self) -> bool:
        return self.guarantee == "exactly_once"


def read() -> Arguments:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    kafka = {name.removeprefix("kafka."): value for name, value in given.items() if name.startswith("kafka.")}
    return Arguments(
        job=given["job"],
        broker=given["broker"],
        input=given["input"],
        output=given["output"],
        app=given["app"],
        guarantee=given["guarantee"],
        commit_ms=int(given["commit_ms"]),
        outputs=given["outputs"],
        state_dir=given["state_dir"],
        snapshots=given.get("snapshots", ""),
        session_ms=int(given.get("session_ms", 0)),
        kafka=kafka,
    )
