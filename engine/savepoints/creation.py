"""Makes a savepoint of a running application: the command's side.

    gather ─▶ hold ─▶ note what is in flight, and the committed offsets ─▶ release ─▶ read what is in flight
    ─▶ all processes have saved their tasks ─▶ write the manifest, if the name is free

If anything goes wrong, the attempt is ended and another one is made, until there is no time left. Only the manifest
makes a savepoint, and it is written last.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from typing import Protocol

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import ConfigError, Fatal, Retryable
from ..failpoints import hit
from ..group.inspect import GroupDescription
from ..snapshots.manifest import new_attempt
from ..snapshots.pins import names_of
from ..snapshots.retention import PIN_MS
from ..snapshots.savepoint import InFlight, Savepoint, SavepointInput, SavepointOutput, SavepointTask, encode, path_of
from ..snapshots.storage import Storage, StorageError
from ..tasks.topic_ids import id_in
from ..version import VERSION
from .command_sender import CommandSender
from .cut import Broken, Complete, Incomplete, Reports, agreed, gathered, held, offsets_in, released, saved
from .histories import refuse_histories
from .in_flight import FlightReader, RecordsGone, TopicRecords
from .mailbox import Mailbox
from .messages import Command, Report
from .participation import SILENT_MS

__all__ = ["GroupOffsets", "PartitionEnds", "SavepointCreation", "TopicEnds"]

HOLD_MS = 10_000
"""How long a process holds its tasks at the most."""
POLL_MS = 100
VIEW_MS = 1_000
AGAIN_MS = 1_000


class GroupOffsets(Protocol):
    """The group of the application, from outside."""

    def view(self, group: str) -> GroupDescription: ...
    def committed(self, group: str, *, stable: bool = ...) -> Mapping[TopicPartition, tuple[int, str]]: ...


class PartitionEnds(Protocol):
    """The ends of partitions."""

    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> Mapping[TopicPartition, int]: ...


class TopicEnds(PartitionEnds, Protocol):
    """The ends of topics."""

    def partitions(self) -> Mapping[str, int]: ...
    def begins(self, keys: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]: ...


@dataclass(frozen=True)
class CutNoted:
    """What was noted while all tasks were held."""

    at: int
    named: Mapping[str, int]
    reports: Mapping[str, Report]
    """The reports of the gathering, by process."""
    committed: Mapping[TopicPartition, tuple[int, str]]
    flying: Mapping[TopicPartition, tuple[int, int]]
    """Begin and end of what is in flight, by partition of a repartition topic."""
    outputs: Mapping[TopicPartition, int]
    """The ends of the output topics."""


class AttemptFailed(Exception):
    """This attempt cannot succeed; the text says why."""


class SavepointCreation:
    """The making of one savepoint."""

    def __init__(
        self,
        storage: Storage,
        application: str,
        name: str,
        groups: GroupOffsets,
        topics: TopicEnds,
        records: TopicRecords,
        scratch: Path,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Set it up. `scratch` is a directory of its own; `say` shows the progress as a line."""
        self._storage = storage
        self._application = application
        self._name = name
        self._groups = groups
        self._topics = topics
        self._flights = FlightReader(storage, application, records, scratch, lambda _size: self._sender.beat())
        self._scratch = scratch
        self._clock = clock
        self._say = say
        self._mailbox = Mailbox(storage, application)
        self._attempt = ""
        self._sender = CommandSender(self._mailbox, "", clock)
        self._others: dict[str, tuple[int, int]] = {}
        """Other attempts: the number of their last message, and when it was first seen."""

    def run(self, timeout_ms: int) -> Savepoint:
        """Make the savepoint.

        Raises ConfigError if there is one of this name or if the application does not run, Fatal if it takes longer
        than `timeout_ms`, Fatal or StorageError if the snapshot store cannot be used.
        """
        self._check_name()
        deadline = self._clock.monotonic() + timeout_ms
        while True:
            try:
                return self._try(deadline)
            except (AttemptFailed, RecordsGone, Retryable, StorageError) as failure:
                if isinstance(failure, StorageError) and failure.lasting:
                    raise Fatal(f"the snapshot store cannot be used: {failure}") from failure
                if self._clock.monotonic() + AGAIN_MS >= deadline:
                    raise Fatal(
                        f"no savepoint of {self._application} could be made within {timeout_ms / 1000:g} s: {failure}. "
                        "The application goes on as before; its logs say more. --timeout gives it longer"
                    ) from failure
                self._say(f"{failure}; trying again")
                self._clock.sleep(AGAIN_MS)
            finally:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def _check_name(self) -> None:
        if self._name in names_of(self._storage, self._application):
            raise ConfigError(
                f"{self._application} has a savepoint {self._name!r} already: choose another name, or delete it with "
                f"`tidemill savepoint delete {self._application} {self._name}`"
            )

    def _try(self, deadline: int) -> Savepoint:
        self._attempt = new_attempt(self._clock.now(), randbits(48))
        self._sender = CommandSender(self._mailbox, self._attempt, self._clock)
        try:
            self._sender.tell(Command("gather"))
            self._wait_for_others(deadline)
            noted = self._cut(self._gather(deadline))
            begun = self._clock.monotonic()
            hit("during-savepoint")
            in_flight = self._flights.read(self._attempt, noted.flying)
            late = min(deadline, begun + PIN_MS)
            reports = self._until(lambda mail: saved(noted.named, mail), late, "the upload of state takes too long")
            hit("during-savepoint")
            savepoint = self._savepoint(noted, {name: report for name, (_, report) in reports.items()}, in_flight)
            self._publish(savepoint, begun)
            return savepoint
        finally:
            self._sender.end()

    # The phases

    def _wait_for_others(self, deadline: int) -> None:
        """Wait until commands that have begun earlier are done or dead."""
        announced = False
        while others := self._earlier():
            if self._clock.monotonic() >= deadline:
                raise AttemptFailed(f"another savepoint of {self._application} is still being made ({others[0]})")
            if not announced:
                self._say(f"another savepoint of {self._application} is being made; waiting for it")
            announced = True
            self._sender.beat()
            self._clock.sleep(POLL_MS)

    def _earlier(self) -> list[str]:
        now, found = self._clock.monotonic(), list[str]()
        for attempt, mail in self._mailbox.look().items():
            if attempt == self._attempt:
                continue
            number, since = self._others.get(attempt, (-2, now))
            self._others[attempt] = (mail.number, since if number == mail.number else now)
            if now - self._others[attempt][1] > SILENT_MS:
                self._mailbox.clear(attempt)  # its command was killed
            elif attempt < self._attempt:
                found.append(attempt)
        return found

    def _gather(self, deadline: int) -> tuple[Mapping[str, int], Reports]:
        """Return the processes that are to hold their tasks, and their reports."""
        viewed, members, said = -VIEW_MS, frozenset[str](), ""
        while True:
            now = self._clock.monotonic()
            if now - viewed >= VIEW_MS:
                viewed, members = now, self._members()
            reports = self._reports()
            found = gathered(reports, members)
            if isinstance(found, Complete):
                asked = {name: reports[name] for name in found.named}
                refuse_without_changelogs(self._application, (report for _, report in asked.values()))
                return found.named, asked
            for process, (_, report) in reports.items():
                if report.phase == "failed" and process in members:
                    raise AttemptFailed(f"process {process[:8]}: {report.why}")
            if now >= deadline:
                raise AttemptFailed(found.why)
            if found.why != said:
                self._say(f"asking {counted(len(members))}: {found.why}")
            said = found.why
            self._sender.beat()
            self._clock.sleep(POLL_MS)

    def _reports(self) -> Reports:
        mail = self._mailbox.look(reports=self._attempt).get(self._attempt)
        if mail is None:
            raise AttemptFailed("this command stood still, and another one has taken it for dead")
        return mail.reports

    def _members(self) -> frozenset[str]:
        view = self._groups.view(self._application)
        if not view.members:
            raise ConfigError(
                f"{self._application} does not run: the group has no members. A savepoint is made by its processes: "
                "start one, and call this again; new input is not needed"
            )
        return frozenset(member.process for member in view.members if member.process)

    def _cut(self, asked: tuple[Mapping[str, int], Reports]) -> CutNoted:
        """Have all tasks held, note where, and release them."""
        named, reports = asked
        there = self._topics.partitions()
        parts = [part for _, report in reports.values() for part in report.subtopologies]
        outputs = {topic for part in parts for topic in part.outputs if topic in there}
        written = {(topic, number) for topic in outputs for number in range(there[topic])}
        self._say(f"holding the tasks of {counted(len(named))} at a commit")
        self._sender.tell(Command("hold", named, HOLD_MS))
        began, at = self._clock.monotonic(), self._clock.now()
        holding = self._until(lambda mail: held(named, mail), began + HOLD_MS, "the tasks were not held in time")
        offsets = offsets_in(named, holding)
        repartitions = {topic for part in parts for topic in part.writes}
        keys = [key for key in offsets if key[0] in repartitions]
        ends = self._topics.ends({*keys, *written}, committed=False)
        committed = self._stable(began + HOLD_MS)
        match agreed(offsets, committed):
            case Broken(why):
                raise AttemptFailed(why)
            case Complete():
                pass
        hit("during-savepoint")
        self._sender.tell(Command("release", named))
        self._until(lambda mail: released(named, mail), began + 3 * HOLD_MS, "the processes do not answer")
        self._say(f"the tasks were held for {(self._clock.monotonic() - began) / 1000:.1f} s at the most; saving")
        flying = {key: (offsets[key], ends[key]) for key in keys}
        mine = {key: committed[key] for key in offsets}
        refuse_histories(self._application, mine)
        gathering = {name: report for name, (_, report) in reports.items()}
        return CutNoted(at, named, gathering, mine, flying, {key: ends[key] for key in written})

    def _stable(self, deadline: int) -> Mapping[TopicPartition, tuple[int, str]]:
        """Return the committed offsets when no transaction with any is open.

        Markers of transactions that have been committed may be on their way.
        """
        while True:
            try:
                return self._groups.committed(self._application, stable=True)
            except Retryable:
                if self._clock.monotonic() >= deadline:
                    raise
                self._clock.sleep(POLL_MS)

    def _until(self, look: Callable[[Reports], Complete | Incomplete | Broken], deadline: int, late: str) -> Reports:
        """Wait for reports of this attempt, and return them. Raises AttemptFailed."""
        while True:
            reports = self._reports()
            found = look(reports)
            match found:
                case Complete():
                    return reports
                case Broken(why):
                    raise AttemptFailed(why)
                case Incomplete(why):
                    if self._clock.monotonic() >= deadline:
                        raise AttemptFailed(f"{late}: {why}")
            self._sender.beat()
            self._clock.sleep(POLL_MS)

    def _savepoint(self, noted: CutNoted, done: Mapping[str, Report], in_flight: list[InFlight]) -> Savepoint:
        one = next(iter(noted.reports.values()))
        snapshots = {task: number for report in done.values() for task, number in report.snapshots.items()}
        memory = {task: files for report in done.values() for task, files in report.memory.items()}
        flying = sum(file.size for flight in in_flight for file in flight.files)
        return Savepoint(
            self._name,
            self._application,
            VERSION,
            self._attempt,
            noted.at,
            one.guarantee,
            one.subtopologies,
            [SavepointTask(task, snapshots.get(task, 0), memory.get(task, ())) for task in one.planned],
            [
                SavepointInput(topic, partition, offset, metadata, id_in(metadata))
                for (topic, partition), (offset, metadata) in sorted(noted.committed.items())
            ],
            in_flight,
            flying + sum(report.size for report in done.values()),
            tuple(SavepointOutput(*key, end) for key, end in sorted(noted.outputs.items())),
        )

    def _publish(self, savepoint: Savepoint, begun: int) -> None:
        """Write the manifest, in time for retention to keep what it names."""
        path = path_of(self._application, self._name)
        if not self._storage.put_new(path, encode(savepoint)):
            self._check_name()
            raise StorageError(f"{self._storage.url}/{path} could not be written")
        if self._clock.monotonic() - begun > 2 * PIN_MS - POLL_MS:
            self._storage.delete([path])
            raise AttemptFailed("the manifest took too long to write, and was withdrawn")


def refuse_without_changelogs(application: str, reports: Iterable[Report]) -> None:
    """Raise ConfigError for an application whose state is in snapshots only."""
    for part in (part for report in reports for part in report.subtopologies):
        if part.stores.keys() - part.changelogs.keys():
            raise ConfigError(
                f'{application} runs with durability "snapshot": savepoints are for applications with durability '
                '"changelog", the default. Keep a copy of the snapshot store instead, made while the application is '
                "stopped"
            )


def counted(processes: int) -> str:
    """Return a number of processes in words."""
    return f"{processes} process{'' if processes == 1 else 'es'}"
