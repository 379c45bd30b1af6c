"""What a job's program is told: `name=value` arguments, the same for every engine.

Imported by scripts that have nothing else of the bench.
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
    kafka: dict[str, str]
    """Settings for the engine's Kafka client, given as kafka.<name>=<value>."""

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
        kafka=kafka,
    )
