"""All errors of Tidemill, by what the caller does next.

Adds the engine's own to those of `operators/errors.py`, and says which exit code the process ends with. The loop
decides by the class alone; the message is for people: what happened, where, what to do.

    TidemillError                                                                         exit code
    ├── ConfigError      correct the settings; raised before anything connects                2
    ├── TopologyError    correct the program; raised before it starts                         2
    ├── RecordError      apply the step's policy; stop when that is "fail"                    1
    ├── Refused          undo, find the record to blame, apply the policy of its step         1
    ├── Retryable        nothing has happened: try again until the deadline, then give up     3
    ├── Unsettled        drop the tasks without a commit, recover from what is committed      3
    ├── Fenced           drop the tasks without a commit, join the group again                3
    ├── StateCorrupt     wipe the store of this task, restore it from its changelog           4
    └── Fatal            close what can be closed and stop                                    3
        └── StateUnusable    the state directory cannot be used; nothing was joined yet       4
    any other exception: a bug in Tidemill                                                   70
"""

from __future__ import annotations

from typing import Final

from ..operators.errors import ConfigError, RecordError, TidemillError, TopologyError
from ..operators.record import Outgoing

__all__ = [
    "EXIT_BUG",
    "EXIT_CONFIG",
    "EXIT_INTERRUPTED",
    "EXIT_KAFKA",
    "EXIT_OK",
    "EXIT_RECORD",
    "EXIT_STATE",
    "ConfigError",
    "Fatal",
    "Fenced",
    "RecordError",
    "Refused",
    "Retryable",
    "StateCorrupt",
    "StateUnusable",
    "TidemillError",
    "TopologyError",
    "Unsettled",
    "exit_code",
]

EXIT_OK: Final = 0
"""A clean stop: everything processed was committed."""
EXIT_RECORD: Final = 1
"""A record could not be processed and the policy is to stop."""
EXIT_CONFIG: Final = 2
"""Settings, the command line or the topology are wrong."""
EXIT_KAFKA: Final = 3
"""Kafka cannot be reached, or refuses for good."""
EXIT_STATE: Final = 4
"""The state directory is unusable or in use by another process."""
EXIT_BUG: Final = 70
"""A bug in Tidemill."""
EXIT_INTERRUPTED: Final = 130
"""A second signal: stopped at once, without a commit."""


class Retryable(TidemillError):
    """Something outside failed for now, such as a broker that does not answer, and nothing has changed: the same call
    may be made again. What has had an effect, or may have had one, never raises this."""


class Unsettled(TidemillError):
    """What was begun may or may not have had its effect, or cannot be begun again from here: drop the tasks, make a new
    producer, recover from what is committed."""


class Refused(TidemillError):
    """Kafka, or its client, does not take a record for what it is, and never will. Nothing of it is durable.

    `topic` is where it was to go, "" when that is not known. `row` is its place, where it is certain which record it
    was.
    """

    def __init__(self, why: str, topic: str = "", row: tuple[Outgoing, int] | None = None) -> None:
        super().__init__(why)
        self.topic = topic
        self.row = row


class Fenced(TidemillError):
    """Another process has taken over what this one owned; whatever is not committed is lost to it."""


class StateCorrupt(TidemillError):
    """The store of `task` cannot be trusted; its changelog can rebuild it."""

    def __init__(self, task: str, why: str) -> None:
        super().__init__(task, why)
        self.task = task
        self.why = why

    def __str__(self) -> str:
        return f"the state of task {self.task} is not usable: {self.why}"


class Fatal(TidemillError):
    """Going on is impossible and trying again would not help."""


class StateUnusable(Fatal):
    """The state directory is in use, of another application, of a newer format, unwritable or full."""


def exit_code(error: BaseException) -> int:
    """The exit code of a process that ends because of `error`."""
    match error:
        case RecordError() | Refused():
            return EXIT_RECORD
        case ConfigError() | TopologyError():
            return EXIT_CONFIG
        case StateUnusable() | StateCorrupt():
            return EXIT_STATE
        case Retryable() | Unsettled() | Fenced() | Fatal():
            return EXIT_KAFKA
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case _:
            return EXIT_BUG
