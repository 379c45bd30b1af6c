"""When the processes have what a savepoint needs: the decisions of the command. Pure.

    gathered    each task runs in one process that has reported, and all have the same program
    held        each of these processes holds its tasks at a commit; what repartition topics hold now is in flight
    agreed      the offsets that the group has committed are those at which the tasks are held
    released    each process was a member of the group when it was released, and had held its tasks until then
    saved       each process has uploaded the state of its tasks

The cut is consistent because there is a moment at which all tasks were held: after the last report of a hold, and
before the first process was released. A process that was removed from the group meanwhile, so that another may have
run its tasks, is found out when it asks the group after its release; and a task does not move while its process is a
member and runs it. What is in flight was read at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...state.topic_partition import TopicPartition
from .messages import Report

__all__ = ["Broken", "Complete", "Incomplete", "agreed", "gathered", "held", "offsets_in", "released", "saved"]

Reports = Mapping[str, tuple[int, Report]]
"""The newest report of each process, with its number."""


@dataclass(frozen=True)
class Incomplete:
    """Something is still to come; `why` says what."""

    why: str


@dataclass(frozen=True)
class Broken:
    """The attempt cannot succeed any more."""

    why: str


@dataclass(frozen=True)
class Complete:
    """The processes have what is needed: the numbers of the reports, by process."""

    named: Mapping[str, int]


def gathered(reports: Reports, members: Collection[str]) -> Complete | Incomplete:
    """Return the processes that are to hold their tasks.

    `members` are the processes in the group.
    """
    mine = {
        process: (number, report)
        for process, (number, report) in reports.items()
        if process in members and report.phase == "ready"
    }
    silent = sorted(set(members) - mine.keys())
    if not mine:
        return Incomplete(f"no answer from {_processes(silent)}")
    planned = [report.planned for _, report in mine.values()]
    parts = [report.subtopologies for _, report in mine.values()]
    if any(one != planned[0] for one in planned) or any(one != parts[0] for one in parts):
        return Incomplete("the processes run different versions of the program, or see different partitions of topics")
    runs = Counter(task for _, report in mine.values() for task in report.tasks)
    twice = sorted(task for task, count in runs.items() if count > 1)
    missing = sorted(set(planned[0]) - runs.keys())
    if missing:
        where = f"; no answer from {_processes(silent)}" if silent else ""
        return Incomplete(f"{len(missing)} of {len(planned[0])} tasks do not run yet, such as {missing[0]}{where}")
    if twice or runs.keys() - set(planned[0]):
        return Incomplete("tasks are moving between processes")
    return Complete({process: number for process, (number, report) in mine.items() if report.tasks})


def held(named: Mapping[str, int], reports: Reports) -> Complete | Incomplete | Broken:
    """Return whether all processes hold their tasks."""
    return _all(named, reports, "held", "hold their tasks")


def released(named: Mapping[str, int], reports: Reports) -> Complete | Incomplete | Broken:
    """Return whether all processes held their tasks until they were released."""
    return _all(named, reports, "released", "confirm that they held their tasks", "done")


def saved(named: Mapping[str, int], reports: Reports) -> Complete | Incomplete | Broken:
    """Return whether all processes have uploaded the state of their tasks."""
    return _all(named, reports, "done", "upload the state of their tasks")


def offsets_in(named: Mapping[str, int], reports: Reports) -> dict[TopicPartition, int]:
    """Return the offsets at which tasks are held."""
    return {(one.topic, one.partition): one.offset for process in named for one in reports[process][1].offsets}


def agreed(
    offsets: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, tuple[int, str]]
) -> Complete | Broken:
    """Return whether the group has committed exactly these offsets."""
    for key, offset in sorted(offsets.items()):
        found = committed.get(key)
        if found is None or found[0] != offset:
            return Broken(
                f"topic {key[0]!r}, partition {key[1]} is held at offset {offset}, but the group has committed "
                f"{'nothing' if found is None else found[0]}: its task has moved"
            )
    return Complete({})


def _all(
    named: Mapping[str, int], reports: Reports, phase: str, doing: str, later: str = ""
) -> Complete | Incomplete | Broken:
    for process in sorted(named):
        _, report = reports.get(process, (-1, None))
        if report is not None and report.phase == "failed":
            return Broken(f"process {process[:8]}: {report.why}")
    waiting = [process for process in sorted(named) if reports.get(process, (-1, None))[1] is None]
    waiting += [p for p in sorted(named) if p in reports and reports[p][1].phase not in (phase, later)]
    if waiting:
        return Incomplete(f"waiting for {_processes(waiting)} to {doing}")
    return Complete({process: reports[process][0] for process in named})


def _processes(names: Collection[str]) -> str:
    shown = ", ".join(name[:8] for name in sorted(names)[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"process {shown}" if len(names) == 1 else f"{len(names)} processes ({shown}{more})"
