"""Makes a savepoint with another number of partitions from a savepoint.

    survey    every entry is read: it is counted and hashed, and the rules are found that explain where keys lie
    move      every entry is written to the task where its key lies now; the entries of tasks themselves are merged
    compare   every entry is read again from the new savepoint: the same number and hash per store, each in its place
    publish   the manifest is written, last

Nothing of the application is changed. Entries are collected in a RocksDB of the command, by store and task.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...state.rocks import RocksMemory
from ...state.store import frame, unframe
from ..clock import Clock
from ..errors import ConfigError, Fatal
from ..failpoints import hit
from ..ids import TaskId
from ..kafka.partitioners import MURMUR2
from ..savepoints.content import MEMORY, SavepointContent, manifest_of
from ..savepoints.description import described
from ..savepoints.record_files import MemoryEntry, RecordFiles, read_records
from ..snapshots.manifest import new_attempt
from ..snapshots.savepoint import Savepoint, SavepointFile, SavepointInput, SavepointTask, encode, file_path, path_of
from ..snapshots.storage import Storage
from ..version import VERSION
from .digest import Digest
from .flights import FlightMover
from .moved_entries import MovedEntries
from .parts import Part
from .rules import placed
from .survey import ChosenRules, StoreSurvey, chosen, content_of

__all__ = ["MovedStore", "Resharding", "Surveyed"]

SAY_MS = 1_000
"""How often the progress is shown."""


@dataclass(frozen=True)
class MovedStore:
    """A store before and after."""

    name: str
    old: int
    """The number of its tasks."""
    new: int
    before: Digest
    after: Digest | None
    """None if it was not moved yet."""


@dataclass(frozen=True)
class Surveyed:
    """A savepoint whose entries have been read: how they will be moved."""

    rules: Mapping[int, ChosenRules]
    """By sub-topology."""
    surveys: Mapping[str, StoreSurvey]

    @property
    def stores(self) -> list[MovedStore]:
        """The stores as they are."""
        return [MovedStore(one.name, one.part.old, one.part.new, one.digest, None) for one in self.surveys.values()]


class Resharding:
    """The making of one savepoint."""

    def __init__(
        self,
        storage: Storage,
        base: Savepoint,
        parts: Sequence[Part],
        scratch: Path,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Set it up; `scratch` is a directory of its own."""
        self._storage = storage
        self._base = base
        self._parts = parts
        self._scratch = scratch
        self._tell = say
        self._clock = clock
        self._told = -SAY_MS
        self._now = clock.now()
        self._memory = RocksMemory(MEMORY)
        moving = {part.id for part in parts if part.moves}
        self._affected = {
            part.id: part for part in parts if part.moves or not moving.isdisjoint(part.references.values())
        }
        self.flights = FlightMover(storage, base, parts, scratch / "in-flight")

    def survey(self, preferred: Mapping[int, str]) -> Surveyed:
        """Read all entries, and choose how they are moved.

        `preferred` are partitioners by sub-topology, for those whose keys do not tell. Raises ConfigError for a store
        that cannot be moved, StorageError.
        """
        by_id = {part.id: part for part in self._parts}
        surveys = {
            name: StoreSurvey(name, part, by_id.get(part.references.get(name, -1)))
            for part in self._affected.values()
            for name in part.stores
        }
        for task, (store, key, stored) in self._entries("reading"):
            surveys[store].add(task.partition, key, stored)
        problems = [text for survey in surveys.values() if survey.part.moves and (text := survey.overdue())]
        if problems:
            raise ConfigError("\n".join(problems))
        rules = {
            part.id: chosen(
                part, [one for one in surveys.values() if one.part is part], preferred.get(part.id, MURMUR2)
            )
            for part in self._affected.values()
        }
        return Surveyed(rules, surveys)

    def run(
        self, name: str, nonce: int, found: Surveyed, inputs: Sequence[SavepointInput]
    ) -> tuple[Savepoint, list[MovedStore]]:
        """Make the savepoint `name` with these positions; return it with its stores.

        Raises ConfigError if the name is taken, Fatal if the new entries are not those of before, StorageError.
        """
        attempt = new_attempt(self._now, nonce)
        hit("during-reshard")
        tasks = [task for part in self._parts for task in self._tasks(part, attempt, found)]
        hit("during-reshard")
        flying = self.flights.moved(attempt)
        files: list[SavepointFile] = [file for task in tasks for file in task.memory]
        files += [file for flight in flying for file in flight.files]
        snapshots = sum(manifest_of(self._storage, self._base, task).size for task in tasks if task.snapshot)
        base = self._base
        made = Savepoint(
            name,
            base.application,
            VERSION,
            attempt,
            self._now,
            base.guarantee,
            [described(part.now) for part in self._parts],
            tasks,
            inputs,
            flying,
            snapshots + sum(file.size for file in files),
            base.outputs,
        )
        stores = self._compared(made, found)
        hit("during-reshard")
        if not self._storage.put_new(path_of(made.application, name), encode(made)):
            raise ConfigError(f"{made.application} has a savepoint {name!r} already: choose another name")
        return made, stores

    def _tasks(self, part: Part, attempt: str, found: Surveyed) -> list[SavepointTask]:
        """Write the entries of a sub-topology, and return its tasks."""
        old = [task for task in self._base.tasks if TaskId.parse(task.task).subtopology == part.id]
        if part.id not in self._affected:
            return [self._copied(task, attempt) for task in old]
        path = self._scratch / "entries"
        table = MovedEntries(path, self._memory)
        try:
            for store, number, key, stored in self._moved(part, found):
                table.add(f"{number}/{store}", key, stored)
            return [self._task(part, number, attempt, table) for number in range(part.new)]
        finally:
            table.close()
            shutil.rmtree(path, ignore_errors=True)

    def _moved(self, part: Part, found: Surveyed) -> Iterator[tuple[str, int, bytes, bytes]]:
        """Yield the store, new task, key and stored value of all entries of a sub-topology."""
        numbers: dict[tuple[str, int], int] = {}
        counts: dict[tuple[str, int], Any] = {}
        for task, (store, key, stored) in self._entries("moving", part):
            survey = found.surveys[store]
            codec, placement = survey.state.codec, survey.placement
            number = self._place(survey, found.rules[part.id], task.partition, key, unframe(stored))
            if number is None:
                continue
            if placement.numbered:
                numbers[store, number] = following = numbers.get((store, number), -1) + 1
                key = codec.encode_key(following)
            if placement.references is not None and survey.target is not None:
                rule = found.rules[part.id].targets[store]
                there = placed(rule, placement.references.key(key), placement.references.suffix, survey.target.new)
                stored = frame(placement.references.moved(unframe(stored), there))
            if placement.tally is not None:
                one = placement.tally.one(codec.decode_key(key), codec.decode_value(unframe(stored)))
                if one is not None:
                    slot, known = placement.tally.slot, counts.get((store, number))
                    counts[store, number] = one if known is None else placement.merged(slot, [known, one])
            yield store, number, key, stored
        for store in part.stores:
            for number in range(part.new):
                yield from self._books(found.surveys[store], number, counts.get((store, number)))

    @staticmethod
    def _books(survey: StoreSurvey, number: int, counted: Any) -> Iterator[tuple[str, int, bytes, bytes]]:
        """Yield the entries of a new task itself, with what was counted of the others."""
        codec, tally = survey.state.codec, survey.placement.tally
        books = survey.merged_books(number)
        if tally is not None and counted is not None:
            raw = codec.encode_key(tally.slot)
            known = [codec.decode_value(unframe(books[raw]))] if raw in books else []
            books[raw] = frame(codec.encode_value(survey.placement.merged(tally.slot, [*known, counted])))
        for key, stored in books.items():
            yield survey.name, number, key, stored

    @staticmethod
    def _place(survey: StoreSurvey, rules: ChosenRules, task: int, key: bytes, value: bytes) -> int | None:
        """Return the new task of an entry; None for one of the task itself."""
        placement, part, rule = survey.placement, survey.part, rules.stores[survey.name]
        owner = placement.key(key, value)
        if owner is None:
            return None
        if placement.numbered and (not owner or placed(rule, owner, placement.suffix, part.old) != task):
            return task % part.new  # its key does not decide where it is
        return placed(rule, owner, placement.suffix, part.new)

    def _task(self, part: Part, number: int, attempt: str, table: MovedEntries) -> SavepointTask:
        name = str(TaskId(part.id, number))
        files = self._files(attempt, f"memory-{name}")
        for store in part.stores:
            for key, stored in table.scan(f"{number}/{store}"):
                files.append(MemoryEntry(store, key, stored))
        self._say(f"entries of task {name} written")
        hit("during-reshard")
        return SavepointTask(name, 0, files.finish(), ())

    def _copied(self, task: SavepointTask, attempt: str) -> SavepointTask:
        """Copy the files of a task that stays: files are deleted with their savepoint."""
        files = self._files(attempt, f"memory-{task.task}")
        scratch = self._scratch / "copied"
        for entry in read_records(self._storage, self._base.application, task.memory, MemoryEntry, scratch):
            files.append(entry)
        return SavepointTask(task.task, task.snapshot, files.finish(), task.loaded)

    def _files(self, attempt: str, name: str) -> RecordFiles:
        scratch = self._scratch / "upload"
        return RecordFiles(self._storage, self._base.application, file_path(attempt, name), scratch, lambda size: None)

    def _compared(self, made: Savepoint, found: Surveyed) -> list[MovedStore]:
        """Read the new entries, and compare them with those of before. Raises Fatal."""
        after = {name: Digest() for name in found.surveys}
        for task in made.tasks:
            task_id = TaskId.parse(task.task)
            part = self._affected.get(task_id.subtopology)
            if part is None:
                continue
            self._say(f"comparing the entries of task {task.task}")
            scratch = self._scratch / "compared"
            for entry in read_records(self._storage, made.application, task.memory, MemoryEntry, scratch):
                survey = found.surveys[entry.store]
                value = unframe(entry.value)
                owner = survey.placement.key(entry.key, value)
                if owner is None:
                    continue
                after[entry.store].add(*content_of(survey.placement, entry.key, value))
                rule = found.rules[part.id].stores[entry.store]
                at = placed(rule, owner, survey.placement.suffix, part.new)
                if at != task_id.partition and not survey.placement.numbered:
                    raise Fatal(
                        f"task {task.task} got the key {entry.key!r} of store {entry.store!r}, which is of {at}"
                    )
        for name, survey in found.surveys.items():
            if after[name] != survey.digest:
                raise Fatal(
                    f"store {name!r} had {survey.digest.entries} entries ({survey.digest}) and would have "
                    f"{after[name].entries} ({after[name]}): nothing was changed. Two tasks may have had one key; "
                    "process the inputs again, after `tidemill reset`"
                )
        return [replace(one, after=after[one.name]) for one in found.stores]

    def _say(self, line: str) -> None:
        """Show the progress from time to time."""
        if self._clock.monotonic() - self._told >= SAY_MS:
            self._told = self._clock.monotonic()
            self._tell(line)

    def _entries(self, doing: str, only: Part | None = None) -> Iterator[tuple[TaskId, tuple[str, bytes, bytes]]]:
        """Yield the entries of the tasks that are moved, or of one sub-topology, with their tasks."""
        content = SavepointContent(self._storage, self._base, self._scratch / "content")
        for task in self._base.tasks:
            task_id = TaskId.parse(task.task)
            part = self._affected.get(task_id.subtopology)
            if part is None or (only is not None and part is not only):
                continue
            self._say(f"{doing} the entries of task {task.task}")
            manifest = manifest_of(self._storage, self._base, task) if task.snapshot else None
            for entry in content.entries(task, manifest):
                if entry[0] in part.stores:
                    yield task_id, entry
