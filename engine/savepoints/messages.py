"""The messages between commands that hold all tasks, and the processes. Pure.

The command writes commands, each process writes reports. The newest message of each counts; messages are numbered.
Savepoints and cut-overs are made this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ..snapshots.savepoint import SavepointFile, SavepointSubTopology

__all__ = ["Command", "InputOffset", "Report", "command_name", "mail_folder", "parse_name", "report_name"]

COMMAND = "command"


class InputOffset(msgspec.Struct, frozen=True, array_like=True):
    """The committed next offset of an input partition."""

    topic: str
    partition: int
    offset: int


class Command(msgspec.Struct, frozen=True):
    """What the command says. It repeats itself under a new number as a sign of life."""

    phase: Literal["gather", "hold", "release", "run", "stand", "end"]
    named: Mapping[str, int] = {}
    """The processes that are to hold their tasks, each with the number of the report that counts."""
    hold_ms: int = 0
    """How long a process holds its tasks at the most, or runs them up to `ends` only."""
    cutover: str = ""
    """The other application, in a cut-over; "" if a savepoint is made."""
    step: int = 0
    """Of a cut-over: a number that is higher in each command that asks for something else."""
    ends: tuple[InputOffset, ...] = ()
    """Where tasks stop reading their inputs, in a cut-over. Repartition topics are read to their ends."""


class Report(msgspec.Struct, frozen=True):
    """What a process says."""

    process: str
    phase: Literal["ready", "held", "released", "done", "failed"]
    why: str = ""
    """Why it has failed."""
    tasks: Sequence[str] = ()
    """The tasks that it runs."""
    planned: Sequence[str] = ()
    """All tasks of the application."""
    subtopologies: Sequence[SavepointSubTopology] = ()
    guarantee: str = ""
    effects: Sequence[str] = ()
    """Steps that have effects which a cut-over cannot hand over."""
    offsets: Sequence[InputOffset] = ()
    """The inputs of its tasks, at the commit at which it holds them."""
    snapshots: Mapping[str, int] = {}
    """The numbers of the snapshots that it has taken, by task."""
    memory: Mapping[str, Sequence[SavepointFile]] = {}
    """The content of its stores in memory, by task."""
    size: int = 0
    """Bytes of all that it has saved."""
    step: int = 0
    """Of a cut-over: the step to which this answers."""


def mail_folder(application: str) -> str:
    """Where messages are, below the URL of the snapshot store."""
    return f"{application}/mail"


def command_name(attempt: str, number: int) -> str:
    """Return the name of a command's message, below the folder of messages."""
    return f"{attempt}/{COMMAND}-{number:09d}.json"


def report_name(attempt: str, process: str, number: int) -> str:
    """Return the name of a report, below the folder of messages."""
    return f"{attempt}/{process}-{number:09d}.json"


def parse_name(name: str) -> tuple[str, str, int] | None:
    """Return attempt, writer and number of a message; None if it is none.

    The writer is "command" or a process.
    """
    attempt, slash, last = name.partition("/")
    writer, dash, number = last.removesuffix(".json").rpartition("-")
    if not (slash and dash and writer and last.endswith(".json") and number.isdecimal()):
        return None
    return attempt, writer, int(number)
