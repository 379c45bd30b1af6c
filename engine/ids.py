"""Ids of tasks and processes, as values.

A task is a sub-topology and a partition number. A process id names one *incarnation* of a process: 32 hexadecimal
digits and the number of its membership epoch, so that an id that was fenced is never used again. The transactional.id
of an incarnation's producer is derived from it only here. The client library gives the id of a topic in the alphabet of
base64 that has a slash; Kafka and its tools write the one that is safe in paths.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["TaskId", "incarnation", "path_safe", "process_of", "transactional_id"]

PROCESS = re.compile(r"[0-9a-f]{32}\.[0-9]+")


class TaskId(NamedTuple):
    """One sub-topology on one partition number."""

    subtopology: int
    partition: int

    def __str__(self) -> str:
        return f"{self.subtopology}_{self.partition}"

    @staticmethod
    def parse(text: str) -> TaskId:
        """Parse the result of `str`. Raises ValueError for anything else."""
        subtopology, underscore, partition = text.partition("_")
        if not (underscore and subtopology.isdecimal() and partition.isdecimal()):
            raise ValueError(f"{text!r} is not a task id such as 0_3")
        return TaskId(int(subtopology), int(partition))


def incarnation(process: str, epoch: int) -> str:
    """Return the process id of a process (32 hexadecimal digits) in one epoch of its membership."""
    name = f"{process}.{epoch}"
    if not PROCESS.fullmatch(name):
        raise ValueError(f"{process!r} is not 32 hexadecimal digits")
    return name


def path_safe(topic_id: str) -> str:
    """Return the id of a topic as Kafka's tools print it, which has no slash.

    Source: `org.apache.kafka.common.Uuid.toString`, by the URL-safe alphabet of RFC 4648.
    """
    return topic_id.replace("+", "-").replace("/", "_")


def transactional_id(app_id: str, process: str) -> str:
    """Return the transactional.id of the producer of an incarnation."""
    return f"{app_id}-{process}"


def process_of(app_id: str, transactional: str) -> str | None:
    """Return the incarnation of a transactional.id, or None if it is not of this application.

    Exact: the ids of an application named `a-b` are never taken for those of one named `a`.
    """
    head, dash, process = transactional.rpartition("-")
    return process if dash and head == app_id and PROCESS.fullmatch(process) else None
