"""Tests of changelogs with at-least-once: writes of lost commits and of zombies are ignored by every restore.

This holds for the next owner, for a standby, and for a process that restores the changelog much later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.clock import ManualClock
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.restore.opening import Opening
from tidemill.engine.restore.replay import Replay, ReplayRestart
from tidemill.engine.runtime.checkpoint import CommitOutcomeUnknown, check_alone
from tidemill.engine.tasks.task import PreparedCommit, Task
from tidemill.operators.record import Batch
from tidemill.state.changelog import encode
from tidemill.state.memory import MemoryStore
from tidemill.state.store import TOMBSTONES_KEPT_MS, Position
from tidemill.state.topic_partition import TopicPartition

Rows = dict[bytes, bytes]


def planned() -> Any:
    app = tm.App("app")
    stream = app.stream("in", key=tm.utf8, value=tm.json).group_by_key()
    stream.window(tm.session(gap=100, grace=1_000)).emit("close").count().named("s").in_memory()
    return plan(partition(app.topology()), "app", {"in": 1}, {})


PLAN = planned()
TASK = PLAN.tasks()[0]
PART = PLAN.subtopology(TASK)
TOPIC: TopicPartition = (PART.changelogs["s"], 0)


class Changelog:
    """The topic, and its reader."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes, bytes | None, Any]] = []
        self.at = 0
        self.most = 1_000
        """How many records a reader gets at a time."""

    @property
    def end(self) -> int:
        return self.rows[-1][0] + 1 if self.rows else 0

    def write(self, sealed: PreparedCommit) -> Position:
        """Write a commit of this work, and return the end of the changelog."""
        writer = sealed.changelog_ownership.writers["s"]
        for row in encode(sealed.changes, sealed.inputs(), writer):
            self.rows.append((self.end, *row))
        return Position({"s": self.end} if sealed.changes else {})

    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(keys, 0)

    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]:
        return dict.fromkeys(keys, self.end)

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, TOMBSTONES_KEPT_MS)

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.at = offsets.get(TOPIC, self.at)

    def unassign(self, keys: Iterable[TopicPartition]) -> None:
        pass

    def poll(self, limit: int, timeout: float) -> Polled:
        rows = [row for row in self.rows if row[0] >= self.at][: self.most]
        if not rows:
            return Polled([], {TOPIC: self.end})
        self.at = rows[-1][0] + 1
        offsets, keys, values, headers = (list(column) for column in zip(*rows, strict=True))
        batch = Batch(*TOPIC, keys, values, [0] * len(rows), offsets, [tuple(one) for one in headers], 0)
        return Polled([batch], {})


class Owner:
    """A process that has the task from now on, restored with a store that is empty or its own from before."""

    def __init__(self, log: Changelog, committed: int, generation: int = 1, store: MemoryStore | None = None) -> None:
        self.log = log
        self.store = store or MemoryStore()
        parts: tuple[Any, Any] = (log, log)
        opening = Opening(TASK, PART, stores={"memory": self.store}, offsets={("in", 0): committed})
        replay = Replay(*parts, ManualClock(0), at_least_once=True)
        opening.generation = generation
        replay.add([opening])
        while not all(cursor.done for cursor in opening.cursors):
            replay.step(0)
        opening.changelog_ownership.unsure = {cursor.store: cursor.unsure for cursor in opening.cursors}
        calls: Any = None
        self.task = Task(
            TASK, PART, opening.stores, opening.offsets, calls=calls, changelog_ownership=opening.changelog_ownership
        )
        self.next = committed

    def process(self, *times: int) -> None:
        """Process records of one key with these timestamps."""
        offsets = list(range(self.next, self.next + len(times)))
        self.next += len(times)
        values = [b"1"] * len(times)
        self.task.offer(Batch("in", 0, [b"k"] * len(times), values, list(times), offsets, None, 0), 0)  # type: ignore[arg-type]
        while self.task.advance(0, None, wait=False) is not None:
            pass

    def commit(self) -> None:
        sealed = self.task.prepare_commit()
        position = self.log.write(sealed)
        check_alone(sealed, position)
        self.task.complete_commit(position)

    def dies_before_its_offsets_are_committed(self) -> None:
        self.log.write(self.task.prepare_commit())

    @property
    def rows(self) -> Rows:
        return dict(self.store.scan("s", b"", None))


def restored(log: Changelog, committed: int) -> Rows:
    return Owner(log, committed, 99).rows


@pytest.fixture
def log() -> Changelog:
    return Changelog()


def test_writes_of_a_lost_commit_are_ignored(log: Changelog) -> None:
    """The work is repeated in a larger batch, in which an entry is added and deleted, which alone writes nothing."""
    first = Owner(log, 0)
    first.process(0)
    first.dies_before_its_offsets_are_committed()
    second = Owner(log, 0, 2)
    assert second.rows == {}
    second.process(0, 50, 5_000)  # the first session grows, and is closed
    second.commit()
    assert restored(log, second.next) == second.rows
    assert restored(log, 0) == {}, "a restore from older offsets ignores it too"


def test_what_was_lost_is_written_again_only_once(log: Changelog) -> None:
    first = Owner(log, 0)
    first.process(0)
    first.dies_before_its_offsets_are_committed()
    second = Owner(log, 0, 2)
    second.process(0, 50, 5_000)
    second.commit()
    assert not second.task.prepare_commit().changes


@pytest.mark.parametrize("lost", [1, 3])
def test_a_commit_that_is_lost_again_and_again(log: Changelog, lost: int) -> None:
    for generation in range(lost):
        owner = Owner(log, 0, generation)
        owner.process(*range(0, 400 * (generation + 1), 400))
        owner.dies_before_its_offsets_are_committed()
    owner = Owner(log, 0, lost)
    owner.process(0, 50, 5_000)
    owner.commit()
    assert restored(log, owner.next) == owner.rows


def superseded(log: Changelog) -> tuple[Owner, Owner]:
    """Pause a process with a prepared commit, and let another process take over the task."""
    frozen = Owner(log, 0)
    frozen.process(0)
    frozen.commit()
    frozen.process(10)
    later = Owner(log, 1, 2)
    return frozen, later


def test_a_zombie_does_not_replace_new_values_by_old_ones(log: Changelog) -> None:
    frozen, later = superseded(log)
    later.process(10, 20)
    later.commit()
    right = later.rows
    frozen.dies_before_its_offsets_are_committed()
    assert restored(log, later.next) == right
    again = Owner(log, later.next, 3, later.store)
    assert again.rows == right


def test_writes_of_a_zombie_are_detected_and_overwritten(log: Changelog) -> None:
    """So that none of them remain when the changelog is compacted."""
    frozen, later = superseded(log)
    later.process(10, 20)
    later.commit()
    frozen.dies_before_its_offsets_are_committed()
    later.process(30)
    with pytest.raises(CommitOutcomeUnknown, match=r"'s' ends at .* another process, or an earlier life of this one"):
        later.commit()
    again = Owner(log, later.next, 3, later.store)
    again.process(40)
    again.commit()
    last: dict[bytes, bytes | None] = {key: value for _, key, value, _ in log.rows}
    assert {key: value for key, value in last.items() if value is not None} == again.rows


def test_writes_of_a_zombie_before_the_new_owner_has_written(log: Changelog) -> None:
    """Its records count until a later record shows who the owner was: then the store is restored again."""
    frozen, later = superseded(log)
    right = later.rows
    frozen.process(11, 12)
    frozen.dies_before_its_offsets_are_committed()
    later.process(10)
    sealed = later.task.prepare_commit()
    log.write(sealed)  # and its offsets are committed, when it dies
    log.most = 1
    store = MemoryStore()
    with pytest.raises(ReplayRestart, match="when another one had taken the task over"):
        Owner(log, 4, 3, store)
    assert dict(store.scan("s", b"", None)) == {}
    assert Owner(log, 4, 3, store).rows == {
        change.key: change.value for change in sealed.changes if change.value is not None
    } | {key: value for key, value in right.items() if key not in {change.key for change in sealed.changes}}


def test_generations_that_restart_do_not_make_owners_outdated(log: Changelog) -> None:
    """The generations of a group that Kafka has deleted."""
    first = Owner(log, 0, 50)
    first.process(0)
    first.commit()
    second = Owner(log, 1, 1, first.store)
    second.process(10)
    second.commit()
    assert restored(log, 2) == second.rows


def test_records_of_versions_that_did_not_say_whose_they_are_count(log: Changelog) -> None:
    first = Owner(log, 0, 50)
    first.process(0)
    first.commit()
    second = Owner(log, 1, 51)
    second.process(10)
    second.commit()
    end = len(log.rows)
    second.process(20)
    second.commit()
    log.rows[end:] = [(offset, key, value, headers[:1]) for offset, key, value, headers in log.rows[end:]]
    assert restored(log, 3) == second.rows


class Copy:
    """A copy of the task in another process."""

    def __init__(self, log: Changelog, committed: int) -> None:
        self.store = MemoryStore()
        parts: tuple[Any, Any] = (log, log)
        self.opening = Opening(TASK, PART, standby=True, stores={"memory": self.store}, covered={"in:0": committed})
        self.replay = Replay(*parts, ManualClock(0), at_least_once=True)
        self.replay.add([self.opening])

    def step(self) -> Rows:
        self.replay.step(0)
        return dict(self.store.scan("s", b"", None))

    def committed(self, offset: int) -> Rows:
        self.opening.covered = {"in:0": offset}
        self.replay.committed(self.opening)
        return self.step()


@pytest.mark.parametrize("most", [1, 2, 1_000])
def test_a_copy_has_what_was_committed_and_no_more(log: Changelog, most: int) -> None:
    log.most = most
    owner = Owner(log, 0)
    copy = Copy(log, 0)
    owner.process(0)
    sealed = owner.task.prepare_commit()
    position = log.write(sealed)
    for _ in range(5):
        assert copy.step() == {}
    assert copy.replay.waiting() == [TASK]
    owner.task.complete_commit(position)
    copy.committed(1)
    for _ in range(5):
        copy.step()
    assert copy.step() == owner.rows
    assert copy.replay.waiting() == []
    owner.process(5_000)
    log.write(owner.task.prepare_commit())
    before = copy.step()
    for _ in range(5):
        assert copy.step() == before
    promoted = Owner(log, 1, 2, copy.store)
    assert promoted.rows == before == restored(log, 1)


def test_a_copy_keeps_little_in_memory(log: Changelog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is read again."""
    monkeypatch.setattr("tidemill.engine.restore.replay.MOST_HELD", 3)
    owner, copy = Owner(log, 0), Copy(log, 0)
    for number in range(8):
        owner.process(number * 500)
        owner.commit()
        copy.step()
        assert sum(len(batch.offsets) for cursor in copy.opening.cursors for batch in cursor.held) <= 3
    copy.committed(3)
    copy.committed(8)
    for _ in range(5):
        copy.step()
    assert copy.committed(8) == owner.rows
