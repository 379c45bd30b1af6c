"""Names of tasks and processes, as values.

A task is a sub-topology and a partition number. A process id names one *incarnation* of a process: 32 hexadecimal
digits and the number of its membership epoch, so that an id which has to be fenced never comes back to life. The
transactional.id of an incarnation's producer is made from it here and nowhere else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["TaskId", "incarnation", "process_of", "transactional_id"]

PROCESS = re.compile(r"[0-9a-f]{32}\.[0-9]+")


class TaskId(NamedTuple):
    """One sub-topology on one partition number."""

    subtopology: int
    partition: int

    def __str__(self) -> str:
        return f"{self.subtopology}_{self.partition}"

    @staticmethod
    def parse(text: str) -> TaskId:
        """Reads what `str` writes. Raises ValueError on anything else."""
        subtopology, underscore, partition = text.partition("_")
        if not (underscore and subtopology.isdecimal() and partition.isdecimal()):
            raise ValueError(f"{text!r} is not a task id such as 0_3")
        return TaskId(int(subtopology), int(partition))


def incarnation(process: str, epoch: int) -> str:
    """The process id of a process (32 hexadecimal digits) in one epoch of its membership."""
    name = f"{process}.{epoch}"
    if not PROCESS.fullmatch(name):
        raise ValueError(f"{process!r} is not 32 hexadecimal digits")
    return name


def transactional_id(app_id: str, process: str) -> str:
    """The transactional.id of the producer of an incarnation."""
    return f"{app_id}-{process}"


def process_of(app_id: str, transactional: str) -> str | None:
    """The incarnation behind a transactional.id, or None when it is not one of this application's.

    Exact: the ids of an application called `a-b` are never taken for those of one called `a`.
    """
    head, dash, process = transactional.rpartition("-")
    return process if dash and head == app_id and PROCESS.fullmatch(process) else None
