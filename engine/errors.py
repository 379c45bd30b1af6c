"""All errors of Tidemill, by what the caller does next.

Adds the engine's own to those of `operators/errors.py`, and defines the exit code of the process for each. The loop
decides by the class alone; the message is for users: what happened, where, what to do.

    TidemillError                                                                            exit code
    ├── ConfigError            correct the settings; raised before anything connects             2
    ├── TopologyError          correct the program; raised before it starts                      2
    ├── RecordError            apply the step's policy; stop if that is "fail"                   1
    ├── RecordRejected         undo, find the rejected record, apply the policy of its step      1
    ├── Retryable              nothing has changed: retry until the deadline, then give up       3
    ├── CommitOutcomeUnknown   drop the tasks without a commit, recover from the last one        3
    │   └── SnapshotsLate      the same, however often: Kafka is not the reason                  3
    ├── Fenced                 drop the tasks without a commit, join the group again             3
    ├── StateCorrupt           wipe the store of this task, restore it from its changelog        4
    └── Fatal                  close what can be closed and stop                                 3
        └── StateUnusable      the state directory cannot be used; not joined yet                4
    any other exception: a bug in Tidemill                                                      70
"""

from __future__ import annotations

from typing import Final

from ..operators.errors import ConfigError, RecordError, Retryable, TidemillError, TopologyError
from ..operators.record import Outgoing

__all__ = [
    "EXIT_BUG",
    "EXIT_CONFIG",
    "EXIT_INTERRUPTED",
    "EXIT_KAFKA",
    "EXIT_OK",
    "EXIT_RECORD",
    "EXIT_STATE",
    "CommitOutcomeUnknown",
    "ConfigError",
    "Fatal",
    "Fenced",
    "RecordError",
    "RecordRejected",
    "Retryable",
    "SnapshotsLate",
    "StateCorrupt",
    "StateUnusable",
    "TidemillError",
    "TopologyError",
    "exit_code",
]

EXIT_OK: Final = 0
"""A clean stop: everything processed was committed."""
EXIT_RECORD: Final = 1
"""A record could not be processed and the policy is to stop."""
EXIT_CONFIG: Final = 2
"""Settings, the command line or the topology are wrong."""
EXIT_KAFKA: Final = 3
"""Kafka cannot be reached, or refuses permanently."""
EXIT_STATE: Final = 4
"""The state directory is unusable or in use by another process."""
EXIT_BUG: Final = 70
"""A bug in Tidemill."""
EXIT_INTERRUPTED: Final = 130
"""A second signal: stopped at once, without a commit."""


class CommitOutcomeUnknown(TidemillError):
    """A call may or may not have had its effect, or cannot be repeated from here.

    Drop the tasks, create a new producer, recover from what is committed.
    """


class SnapshotsLate(CommitOutcomeUnknown):
    """The snapshots of a commit were not stored in time: nothing was committed."""


class RecordRejected(TidemillError):
    """Kafka, or its client, permanently rejects a record as such. Nothing of it is durable.

    `topic` is its destination, "" if it is not known. `row` is its place, if it is certain which record it was.
    """

    def __init__(self, why: str, topic: str = "", row: tuple[Outgoing, int] | None = None) -> None:
        super().__init__(why)
        self.topic = topic
        self.row = row


class Fenced(TidemillError):
    """Another process has taken over what this one owned; its uncommitted work is discarded.

    Example:
        >>> issubclass(tm.Fenced, tm.TidemillError)
        True
    """


class StateCorrupt(TidemillError):
    """The store of a task cannot be trusted; it is rebuilt from its changelog.

    Args:
        task: The id of the task.
        why: What is wrong with the store.

    Example:
        >>> print(tm.StateCorrupt("0_1", "a file is missing"))
        the state of task 0_1 is not usable: a file is missing
    """

    def __init__(self, task: str, why: str) -> None:
        super().__init__(task, why)
        self.task = task
        self.why = why

    def __str__(self) -> str:
        return f"the state of task {self.task} is not usable: {self.why}"


class Fatal(TidemillError):
    """The process cannot continue, and a retry would not help.

    Example:
        >>> issubclass(tm.StateUnusable, tm.Fatal)
        True
    """


class StateUnusable(Fatal):
    """The state directory is in use, of another application, of a newer format, or not writable.

    Example:
        >>> issubclass(tm.StateUnusable, tm.TidemillError)
        True
    """


def exit_code(error: BaseException) -> int:
    """Return the exit code of a process that ends because of `error`."""
    match error:
        case RecordError() | RecordRejected():
            return EXIT_RECORD
        case ConfigError() | TopologyError():
            return EXIT_CONFIG
        case StateUnusable() | StateCorrupt():
            return EXIT_STATE
        case Retryable() | CommitOutcomeUnknown() | Fenced() | Fatal():
            return EXIT_KAFKA
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case _:
            return EXIT_BUG
