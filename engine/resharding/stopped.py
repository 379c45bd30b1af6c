"""A savepoint of an application that does not run, from what is in Kafka.

Its committed offsets are the cut: the changelogs are replayed as a task would do it that is opened there, and what the
repartition topics have behind the offsets is in flight. Nothing of the application is changed. A transaction that a
killed process has left open is waited for.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...operators.graph.topology import Repartition
from ...state.rocks import RocksMemory, RocksStore
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import ConfigError, Retryable
from ..failpoints import hit
from ..group.inspect import GroupInspector
from ..ids import TaskId
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..restore.opening import Opening
from ..restore.record_filter import refuse_old_rows
from ..restore.replay import Replay, ReplayRestart
from ..restore.start_offsets import starting_offsets
from ..restore.topic_identity import identify, resume_from_committed
from ..savepoints.content import MEMORY
from ..savepoints.description import described
from ..savepoints.in_flight import FlightReader
from ..savepoints.record_files import MemoryEntry, RecordFiles
from ..snapshots.manifest import new_attempt
from ..snapshots.savepoint import (
    InFlight,
    Savepoint,
    SavepointFile,
    SavepointInput,
    SavepointTask,
    encode,
    file_path,
    path_of,
)
from ..snapshots.storage import Storage
from ..version import VERSION

__all__ = ["StoppedApplication"]

TOGETHER = 8
"""Tasks that are replayed at a time."""
PAUSE_MS = 500
OPEN_MS = 16 * 60_000
"""How long to wait for open transactions: brokers allow 15 minutes by default."""
STEP_SECONDS = 0.2


class StoppedApplication:
    """An application without processes."""

    def __init__(
        self,
        plan: Plan,
        groups: GroupInspector,
        topics: Topics,
        reader: Callable[[], ChangelogReader],
        guarantee: str,
        scratch: Path,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Set it up. `plan` is as it ran; `scratch` is a directory of its own."""
        self._plan = plan
        self._groups = groups
        self._topics = topics
        self._reader = reader
        self._guarantee = guarantee
        self._scratch = scratch
        self._clock = clock
        self._say = say
        self._memory = RocksMemory(MEMORY)

    def savepoint(self, storage: Storage, name: str, nonce: int) -> Savepoint:
        """Make a savepoint.

        Raises ConfigError if the application has not run or the name is taken, Fatal, Retryable, StorageError or
        StateError.
        """
        plan, now = self._plan, self._clock.now()
        attempt = new_attempt(now, nonce)
        committed = self._committed()
        if not committed:
            raise ConfigError(f"the group {plan.app_id!r} has committed no offsets: the application has not run")
        openings = [Opening(task, plan.subtopology(task)) for task in plan.tasks()]
        identify(self._topics, openings)
        counts = {topic: count for part in plan.subtopologies for topic, count in part.topic_partitions.items()}
        inputs: list[SavepointInput] = []
        for opening in openings:
            keys = plan.inputs(opening.task)
            fresh = resume_from_committed(plan, opening, {key: committed.get(key) for key in keys}, counts)
            opening.offsets = {**opening.offsets, **starting_offsets(fresh, self._topics, now)}
            for key in keys:
                metadata = committed[key][1] if key in committed and key not in fresh else ""
                topic_id = opening.topic_ids.get(key[0], "")
                inputs.append(SavepointInput(*key, opening.offsets[key], metadata, topic_id))
        tasks = self._tasks(storage, attempt, openings)
        flying = self._flying(storage, attempt, openings)
        hit("during-reshard")
        files: list[SavepointFile] = [file for task in tasks for file in task.memory]
        files += [file for flight in flying for file in flight.files]
        made = Savepoint(
            name,
            plan.app_id,
            VERSION,
            attempt,
            now,
            self._guarantee,
            [described(part) for part in plan.subtopologies],
            tasks,
            inputs,
            flying,
            sum(file.size for file in files),
        )
        if not storage.put_new(path_of(made.application, name), encode(made)):
            raise ConfigError(f"{made.application} has a savepoint {name!r} already: choose another name")
        return made

    def _committed(self) -> Mapping[TopicPartition, tuple[int, str]]:
        """Return the committed offsets when no transaction with any is open. Raises Retryable."""
        deadline = self._clock.monotonic() + OPEN_MS
        while True:
            try:
                return self._groups.committed(self._plan.app_id, stable=True)
            except Retryable:
                if self._clock.monotonic() >= deadline:
                    raise
                self._say("waiting for a transaction that a process has left open")
                self._clock.sleep(PAUSE_MS)

    def _tasks(self, storage: Storage, attempt: str, openings: Sequence[Opening]) -> list[SavepointTask]:
        found: list[SavepointTask] = []
        reader = self._reader()
        try:
            for begin in range(0, len(openings), TOGETHER):
                some = openings[begin : begin + TOGETHER]
                names = ", ".join(str(opening.task) for opening in some)
                self._say(f"reading the changelogs of the tasks {names} ({begin + len(some)} of {len(openings)})")
                try:
                    for opening in some:
                        store = RocksStore(self._path(opening.task), "reshard", str(opening.task), self._memory)
                        opening.stores = {"rocksdb": store, "memory": store}
                    self._replay(reader, some)
                    found += [self._saved(storage, attempt, opening) for opening in some]
                finally:
                    for opening in some:
                        for store in opening.stores.values():
                            store.close()
                        shutil.rmtree(self._path(opening.task), ignore_errors=True)
        finally:
            reader.close()
        return found

    def _path(self, task: TaskId) -> Path:
        return self._scratch / "replayed" / str(task)

    def _replay(self, reader: ChangelogReader, openings: Sequence[Opening]) -> None:
        """Replay the changelogs of some tasks into their stores."""
        deadline = self._clock.monotonic() + OPEN_MS
        while True:
            replay = Replay(reader, self._topics, self._clock, self._guarantee == "at_least_once")
            try:
                replay.add(openings)
                while not all(cursor.done for opening in openings for cursor in opening.cursors):
                    if replay.step(STEP_SECONDS):
                        deadline = self._clock.monotonic() + OPEN_MS
                    elif self._clock.monotonic() >= deadline:
                        raise Retryable("a changelog cannot be read to its end: a transaction is open")
            except ReplayRestart as failure:
                self._say(f"{failure}; reading again")
            else:
                for opening in openings:
                    refuse_old_rows(self._plan.app_id, opening)
                return
            finally:
                for opening in openings:
                    replay.remove(opening.task)
            for opening in openings:
                opening.cursors.clear()

    def _saved(self, storage: Storage, attempt: str, opening: Opening) -> SavepointTask:
        """Write the entries of a task to files, and return the task."""
        place, scratch = file_path(attempt, f"memory-{opening.task}"), self._scratch / "upload"
        files = RecordFiles(storage, self._plan.app_id, place, scratch, lambda size: None)
        for state in opening.subtopology.stores:
            for key, value in opening.stores["rocksdb"].scan(state.spec.name, b"", None):
                files.append(MemoryEntry(state.spec.name, key, value))
        return SavepointTask(str(opening.task), 0, files.finish(), ())

    def _flying(self, storage: Storage, attempt: str, openings: Sequence[Opening]) -> list[InFlight]:
        """Save what the repartition topics have behind the committed offsets."""
        begins = {
            (topic, number): offset
            for opening in openings
            for topic, node in opening.subtopology.inputs
            if isinstance(node, Repartition)
            for (name, number), offset in opening.offsets.items()
            if name == topic
        }
        ends = self._topics.ends(list(begins), committed=False)
        flying = {key: (begin, max(begin, ends[key])) for key, begin in begins.items()}
        reader = FlightReader(storage, self._plan.app_id, self._reader(), self._scratch, lambda size: None)
        return reader.read(attempt, flying)
