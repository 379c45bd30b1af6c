"""Changelogs that are written at least once: what a lost commit or a process that stood still has written to them never
counts, not for the next owner, not for a copy, and not for who restores it much later.
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
from tidemill.engine.restore.replay import Feeding, StartAgain
from tidemill.engine.runtime.checkpoint import Unsettled, check_alone
from tidemill.engine.tasks.task import Sealed, Task
from tidemill.operators.record import Batch
from tidemill.state.changelog import encode
from tidemill.state.memory import MemoryStore
from tidemill.state.store import TOMBSTONES_KEPT_MS, Position

Key = tuple[str, int]
Rows = dict[bytes, bytes]


def planned() -> Any:
    app = tm.App("app")
    stream = app.stream("in", key=tm.utf8, value=tm.json).group_by_key()
    stream.window(tm.session(gap=100, grace=1_000)).emit("close").count().named("s").in_memory()
    return plan(partition(app.topology()), "app", {"in": 1}, {})


PLAN = planned()
TASK = PLAN.tasks()[0]
PART = PLAN.part(TASK)
TOPIC: Key = (PART.changelogs["s"], 0)


class Changelog:
    """The topic, and a reader of it."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes, bytes | None, Any]] = []
        self.at = 0
        self.most = 1_000
        """How many records a reader gets at a time."""

    @property
    def end(self) -> int:
        return self.rows[-1][0] + 1 if self.rows else 0

    def write(self, sealed: Sealed) -> Position:
        """What a commit of this work writes; where the changelog ends then."""
        writer = sealed.authorship.writers["s"]
        for row in encode(sealed.changes, sealed.inputs(), writer):
            self.rows.append((self.end, *row))
        return Position({"s": self.end} if sealed.changes else {})

    def begins(self, keys: Iterable[Key]) -> dict[Key, int]:
        return dict.fromkeys(keys, 0)

    def ends(self, keys: Iterable[Key], *, committed: bool) -> dict[Key, int]:
        return dict.fromkeys(keys, self.end)

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, TOMBSTONES_KEPT_MS)

    def assign(self, offsets: Mapping[Key, int]) -> None:
        self.at = offsets.get(TOPIC, self.at)

    def unassign(self, keys: Iterable[Key]) -> None:
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
        feeding = Feeding(*parts, ManualClock(0), at_least_once=True)
        feeding.add([opening], generation)
        while not all(feed.done for feed in opening.feeds):
            feeding.step(0)
        opening.authorship.unsure = {feed.store: feed.unsure for feed in opening.feeds}
        calls: Any = None
        self.task = Task(TASK, PART, opening.stores, opening.offsets, calls=calls, authorship=opening.authorship)
        self.next = committed

    def process(self, *times: int) -> None:
        """Takes records of one key with these times."""
        offsets = list(range(self.next, self.next + len(times)))
        self.next += len(times)
        values = [b"1"] * len(times)
        self.task.offer(Batch("in", 0, [b"k"] * len(times), values, list(times), offsets, None, 0), 0)  # type: ignore[arg-type]
        while self.task.advance(0, None, wait=False) is not None:
            pass

    def commit(self) -> None:
        sealed = self.task.seal()
        position = self.log.write(sealed)
        check_alone(sealed, position)
        self.task.settle(position)

    def dies_before_its_offsets_are_committed(self) -> None:
        self.log.write(self.task.seal())

    @property
    def rows(self) -> Rows:
        return dict(self.store.scan("s", b"", None))


def restored(log: Changelog, committed: int) -> Rows:
    return Owner(log, committed, 99).rows


@pytest.fixture
def log() -> Changelog:
    return Changelog()


def test_what_a_lost_commit_wrote_does_not_come_back(log: Changelog) -> None:
    """The work is done again in a larger batch, in which an entry is made and gone: that alone would write nothing."""
    first = Owner(log, 0)
    first.process(0)
    first.dies_before_its_offsets_are_committed()
    second = Owner(log, 0, 2)
    assert second.rows == {}
    second.process(0, 50, 5_000)  # the first session grows, and is closed
    second.commit()
    assert restored(log, second.next) == second.rows
    assert restored(log, 0) == {}, "who restores from older offsets knows nothing of it either"


def test_what_was_lost_is_written_again_only_once(log: Changelog) -> None:
    first = Owner(log, 0)
    first.process(0)
    first.dies_before_its_offsets_are_committed()
    second = Owner(log, 0, 2)
    second.process(0, 50, 5_000)
    second.commit()
    assert second.task.seal().changes == ()


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


def overtaken(log: Changelog) -> tuple[Owner, Owner]:
    """A process stands still with work that it has sealed, and another one has taken the task over meanwhile."""
    frozen = Owner(log, 0)
    frozen.process(0)
    frozen.commit()
    frozen.process(10)
    later = Owner(log, 1, 2)
    return frozen, later


def test_a_process_that_stood_still_does_not_put_old_over_new(log: Changelog) -> None:
    frozen, later = overtaken(log)
    later.process(10, 20)
    later.commit()
    right = later.rows
    frozen.dies_before_its_offsets_are_committed()
    assert restored(log, later.next) == right
    again = Owner(log, later.next, 3, later.store)
    assert again.rows == right


def test_what_it_wrote_is_noticed_and_written_over(log: Changelog) -> None:
    """So that nothing of it is left when the changelog is compacted."""
    frozen, later = overtaken(log)
    later.process(10, 20)
    later.commit()
    frozen.dies_before_its_offsets_are_committed()
    later.process(30)
    with pytest.raises(Unsettled, match=r"'s' ends at .* another process, or an earlier life of this one"):
        later.commit()
    again = Owner(log, later.next, 3, later.store)
    again.process(40)
    again.commit()
    last: dict[bytes, bytes | None] = {key: value for _, key, value, _ in log.rows}
    assert {key: value for key, value in last.items() if value is not None} == again.rows


def test_what_it_wrote_before_the_new_owner_wrote_anything(log: Changelog) -> None:
    """Its records count until a later one says whose time it was: then the store is begun again."""
    frozen, later = overtaken(log)
    right = later.rows
    frozen.process(11, 12)
    frozen.dies_before_its_offsets_are_committed()
    later.process(10)
    sealed = later.task.seal()
    log.write(sealed)  # and its offsets are committed, when it dies
    log.most = 1
    store = MemoryStore()
    with pytest.raises(StartAgain, match="when another one had taken the task over"):
        Owner(log, 4, 3, store)
    assert dict(store.scan("s", b"", None)) == {}
    assert Owner(log, 4, 3, store).rows == {
        change.key: change.value for change in sealed.changes if change.value is not None
    } | {key: value for key, value in right.items() if key not in {change.key for change in sealed.changes}}


def test_generations_that_begin_again_do_not_make_owners_old(log: Changelog) -> None:
    """Those of a group that Kafka has forgotten."""
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
        self.feeding = Feeding(*parts, ManualClock(0), at_least_once=True)
        self.feeding.add([self.opening])

    def step(self) -> Rows:
        self.feeding.step(0)
        return dict(self.store.scan("s", b"", None))

    def committed(self, offset: int) -> Rows:
        self.opening.covered = {"in:0": offset}
        self.feeding.committed(self.opening)
        return self.step()


@pytest.mark.parametrize("most", [1, 2, 1_000])
def test_a_copy_has_what_was_committed_and_no_more(log: Changelog, most: int) -> None:
    log.most = most
    owner = Owner(log, 0)
    copy = Copy(log, 0)
    owner.process(0)
    sealed = owner.task.seal()
    position = log.write(sealed)
    for _ in range(5):
        assert copy.step() == {}
    assert copy.feeding.waiting() == [TASK]
    owner.task.settle(position)
    copy.committed(1)
    for _ in range(5):
        copy.step()
    assert copy.step() == owner.rows
    assert copy.feeding.waiting() == []
    owner.process(5_000)
    log.write(owner.task.seal())
    before = copy.step()
    for _ in range(5):
        assert copy.step() == before
    promoted = Owner(log, 1, 2, copy.store)
    assert promoted.rows == before == restored(log, 1)


def test_a_copy_keeps_little_in_memory(log: Changelog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is read again."""
    monkeypatch.setattr("tidemill.engine.restore.replay.MOST_HELD", 3)
    owner, copy = Owner(log, 0), Copy(log, 0)
    for number in range(8):
        owner.process(number * 500)
        owner.commit()
        copy.step()
        assert sum(len(batch.offsets) for feed in copy.opening.feeds for batch in feed.held) <= 3
    copy.committed(3)
    copy.committed(8)
    for _ in range(5):
        copy.step()
    assert copy.committed(8) == owner.rows
