"""Gives an application the state and the positions of a savepoint.

The content is written to its internal topics, and offsets are committed:

    mark the committed offsets as unfinished ─▶ delete the internal topics ─▶ create them ─▶ mark again
    ─▶ write the entries of all stores to the changelogs, and what is in flight to the repartition topics
    ─▶ commit the offsets of the savepoint

The last step is one request, and the only one after which the application can run: no task is opened from an offset
that is marked. Interrupted at any moment, all is done again from the beginning. The internal topics are new ones, so
no local state and no snapshot of the application from before can be taken for theirs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ...operators.graph.topology import Source
from ...operators.record import Outgoing, Row
from ...state.changelog import ChangelogRecord
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import ConfigError, Fatal, Fenced, Retryable
from ..failpoints import hit
from ..plan.plan import Plan
from ..restore.start_offsets import starting_offsets
from ..snapshots.savepoint import Savepoint
from ..snapshots.storage import Storage
from ..tasks.roles import ACTIVE, Role
from ..tasks.topic_ids import TopicIds, unfinished
from ..watermarks.records import is_mark, moved
from .content import SavepointContent
from .record_files import TopicRecord, read_records
from .translation import internal_topics, mark_ids, renamed_topic, to_commit, to_fill

__all__ = ["FillProducer", "GroupCommits", "InternalTopics", "Refill"]

BATCH = 2_000
GONE_MS = 60_000
"""How long to wait until topics are deleted."""
PAUSE_MS = 200
SAY_MS = 1_000
"""How often the progress is shown."""
FLUSH_SECONDS = 300.0


class GroupCommits(Protocol):
    """The group of the application, without members."""

    def commit(self, group: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None: ...
    def committed(self, group: str, *, stable: bool = ...) -> Mapping[TopicPartition, tuple[int, str]]: ...


class InternalTopics(Protocol):
    """The internal topics of the application."""

    def ids(self, names: Sequence[str]) -> Mapping[str, str]: ...
    def delete(self, names: Iterable[str]) -> None: ...
    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]: ...
    def at(self, keys: Iterable[TopicPartition], moment: datetime) -> dict[TopicPartition, int]: ...


class FillProducer(Protocol):
    """A producer without transactions."""

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None: ...
    def produce(self, outgoing: Iterable[Outgoing]) -> Sequence[object]: ...
    def flush(self, timeout: float) -> None: ...


class Refill:
    """The writing of one savepoint's content."""

    def __init__(
        self,
        storage: Storage,
        savepoint: Savepoint,
        plan: Plan,
        groups: GroupCommits,
        topics: InternalTopics,
        create: Callable[[], None],
        producer: FillProducer,
        scratch: Path,
        clock: Clock,
        say: Callable[[str], None],
        role: Role = ACTIVE,
    ) -> None:
        """Set it up.

        `create` creates the internal topics of the plan; `scratch` is a directory of its own; `role` is that of the
        application from now on.
        """
        self._storage = storage
        self._savepoint = savepoint
        self._plan = plan
        self._groups = groups
        self._topics = topics
        self._create = create
        self._producer = producer
        self._scratch = scratch
        self._clock = clock
        self._say = say
        self._role = role
        self._written: dict[TopicPartition, int] = {}

    def run(self) -> int:
        """Write everything; return the number of records written.

        Raises ConfigError if a process of the application was started meanwhile, Fatal, Retryable or StorageError.
        """
        content = SavepointContent(self._storage, self._savepoint, self._scratch)
        manifests = content.manifests()  # all of them are there before anything is changed
        internal = {topic.name for topic in self._plan.internal}
        offsets = {key: at for key, (at, _) in to_commit(self._savepoint, self._plan, {}).items()}
        others = self._others(offsets)
        self._mark({key: at for key, at in {**others, **offsets}.items() if key[0] not in internal})
        hit("during-refill")
        self._recreate(sorted(internal))
        self._mark({**dict.fromkeys(others, 0), **offsets})
        hit("during-refill")
        said = -SAY_MS
        topics = {(one.task, one.store): (one.topic, one.partition) for one in to_fill(self._savepoint, self._plan)}
        for number, task in enumerate(self._savepoint.tasks, start=1):
            if self._clock.monotonic() - said >= SAY_MS:
                said = self._clock.monotonic()
                self._say(f"writing the state of task {task.task} ({number} of {len(self._savepoint.tasks)})")
            waiting: dict[str, list[ChangelogRecord]] = {}
            for store, key, value in content.entries(task, manifests.get(task.task)):
                records = waiting.setdefault(store, [])
                records.append((key, value, None))
                if len(records) >= BATCH:
                    self._write(*topics[task.task, store], waiting.pop(store))
            for store, records in waiting.items():
                self._write(*topics[task.task, store], records)
            hit("during-refill")
        self._fly()
        self._producer.flush(FLUSH_SECONDS)
        self._check_written()
        shutil.rmtree(self._scratch, ignore_errors=True)
        hit("during-refill")
        self._commit_all(others)
        hit("during-refill")
        return sum(self._written.values())

    def _others(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return what the group has committed for inputs that are not in the savepoint."""
        read = {key for task in self._plan.tasks() for key in self._plan.inputs(task)}
        committed = self._groups.committed(self._plan.app_id)
        return {key: at for key, (at, _) in committed.items() if key in read and key not in offsets}

    def _mark(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit offsets from which no task is opened."""
        mark = unfinished(self._savepoint.name) + self._role.metadata
        self._commit({key: (at, mark) for key, at in offsets.items()})

    def _commit_all(self, others: Iterable[TopicPartition]) -> None:
        """Commit the offsets of the savepoint.

        Inputs that it does not have begin where their sources say.
        """
        parts = self._plan.subtopologies
        ids = self._topics.ids(sorted({topic for part in parts for topic in part.topics}))
        nodes = {topic: node for part in parts for topic, node in part.inputs}
        named = {topic: TopicIds(ids, part.changelogs) for part in parts for topic, _ in part.inputs}
        sources = {key: node if isinstance(node := nodes[key[0]], Source) else None for key in others}
        starts = starting_offsets(sources, self._topics, self._clock.now())
        new = {key: (at, named[key[0]].metadata(key[0]) + self._role.metadata) for key, at in starts.items()}
        self._commit({**new, **to_commit(self._savepoint, self._plan, ids, self._role)})

    def _commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets for a group without members, and make sure that they are there.

        Kafka deletes the offsets of topics that were deleted, and may not have done so yet.
        """
        if not offsets:
            return
        app_id = self._plan.app_id
        deadline = self._clock.monotonic() + GONE_MS
        while True:
            try:
                self._groups.commit(app_id, offsets)
            except Fenced as failure:
                raise ConfigError(
                    f"a process of {app_id} was started meanwhile: stop it, and call the command again. Until then its "
                    "state is not complete"
                ) from failure
            found = self._groups.committed(app_id)
            if all(found.get(key) == value for key, value in offsets.items()):
                return
            if self._clock.monotonic() > deadline:
                raise Retryable(f"the group {app_id} does not keep the offsets that were committed")
            self._clock.sleep(PAUSE_MS)

    def _recreate(self, internal: Sequence[str]) -> None:
        """Replace the internal topics by empty ones.

        Those of the program as it was at the savepoint are deleted as well.
        """
        mine = (renamed_topic(self._savepoint, topic, self._plan.app_id) for topic in internal_topics(self._savepoint))
        names = sorted({*internal, *mine})
        before = self._topics.ids(names)
        if before:
            self._say(f"deleting {len(before)} internal topics")
            self._topics.delete(before)
            deadline = self._clock.monotonic() + GONE_MS
            while self._topics.ids(sorted(before)):
                if self._clock.monotonic() > deadline:
                    raise Fatal(f"the topics {', '.join(sorted(before))} were deleted, but the brokers still have them")
                self._clock.sleep(PAUSE_MS)
            hit("during-refill")
        self._say(f"creating {len(internal)} internal topics")
        self._create()

    def _write(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None:
        self._producer.changelog(topic, partition, records)
        self._written[topic, partition] = self._written.get((topic, partition), 0) + len(records)

    def _fly(self) -> None:
        """Write what is in flight to the repartition topics."""
        ids = mark_ids(self._savepoint, self._plan.app_id)
        application, scratch = self._savepoint.application, self._scratch / "in-flight"
        for flight in self._savepoint.in_flight:
            key = (renamed_topic(self._savepoint, flight.topic, self._plan.app_id), flight.partition)
            rows: list[Row] = []
            for record in read_records(self._storage, application, flight.files, TopicRecord, scratch):
                headers = record.headers
                if headers is not None and is_mark(record.key, record.value, headers):
                    headers = moved(headers, ids)
                rows.append((record.key, record.value, record.timestamp, headers, flight.partition))
                if len(rows) >= BATCH:
                    self._send(key, rows)
                    rows = []
            self._send(key, rows)

    def _send(self, key: TopicPartition, rows: list[Row]) -> None:
        if rows:
            refused = self._producer.produce([Outgoing(key[0], rows)])
            if refused:
                raise Fatal(f"topic {key[0]!r} refuses a record in flight: {refused[0]}")
            self._written[key] = self._written.get(key, 0) + len(rows)

    def _check_written(self) -> None:
        """Compare the ends of the new topics with what was written. Raises Fatal."""
        for key, end in self._topics.ends(list(self._written), committed=False).items():
            if end != self._written[key]:
                raise Fatal(
                    f"topic {key[0]!r}, partition {key[1]} has {end} records instead of {self._written[key]}: another "
                    "process writes to it. Stop all processes of the application, and call the command again"
                )
