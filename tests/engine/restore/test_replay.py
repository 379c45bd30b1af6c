"""Tests of replays of changelogs with at-least-once: which records are skipped, and when none may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.changelog_reader import ChangelogReader
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.kafka.topics import Topics
from tidemill.engine.plan.plan import SubTopology
from tidemill.engine.restore.opening import Opening
from tidemill.engine.restore.replay import Replay
from tidemill.operators.record import Batch
from tidemill.state.changelog import encode
from tidemill.state.memory import MemoryStore
from tidemill.state.store import TOMBSTONES_KEPT_MS, Change, frame

TASK = TaskId(0, 0)
LOG = ("app-seen-changelog", 0)


class Log:
    """A changelog partition: its reader, and its offsets on the broker."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, bytes, bytes | None, list[tuple[str, bytes]] | None]] = []
        self.end = 0

    def write(self, key: bytes, value: bytes, upto: int, name: str = "in:0") -> None:
        """One change of a commit that was to bring the input up to an offset."""
        [row] = encode([Change("seen", key, frame(value))], {name: upto})
        self._rows.append((self.end, *row))
        self.end += 1

    def compact(self) -> None:
        newest = {key: offset for offset, key, _, _ in self._rows}
        self._rows = [row for row in self._rows if newest[row[1]] == row[0]]

    def begins(self, keys: Iterable[Any]) -> dict[Any, int]:
        return dict.fromkeys(keys, 0)

    def ends(self, keys: Iterable[Any], *, committed: bool) -> dict[Any, int]:
        return dict.fromkeys(keys, self.end)

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, TOMBSTONES_KEPT_MS)

    def assign(self, offsets: Mapping[Any, int]) -> None:
        self._begin = offsets[LOG]

    def poll(self, limit: int, timeout: float) -> Polled:
        rows = [row for row in self._rows if row[0] >= self._begin]
        batch = Batch(
            *LOG,
            [row[1] for row in rows],
            [row[2] for row in rows],
            [0] * len(rows),
            [row[0] for row in rows],
            [tuple(row[3] or ()) for row in rows],
            0,
        )
        return Polled([batch], {LOG: self.end})


def restored(log: Log, *, committed: int, **more: Any) -> dict[bytes, bytes]:
    """The content of a store that was replayed at least once."""
    return replayed(log, committed=committed, **more)[0]


def replayed(
    log: Log,
    *,
    committed: int,
    store: MemoryStore | None = None,
    topic_id: str = "",
    ids: Mapping[str, str] | None = None,
) -> tuple[dict[bytes, bytes], int]:
    """Return the contents of a store after an at-least-once replay, and the reported number of records."""
    store = store or MemoryStore()
    subtopology = SimpleNamespace(
        changelogs={"seen": LOG[0]}, stores=[SimpleNamespace(spec=SimpleNamespace(name="seen", kind="memory"))]
    )
    opening = Opening(
        TASK,
        cast("SubTopology", subtopology),
        stores={"memory": store},
        offsets={("in", 0): committed},
        topic_ids={LOG[0]: topic_id, **(ids or {})},
    )
    replay = Replay(cast("ChangelogReader", log), cast("Topics", log), ManualClock(0), at_least_once=True)
    replay.add([opening])
    records = replay.step(0)[TASK]
    assert all(cursor.done for cursor in opening.cursors)
    return dict(store.scan("seen", b"", None)), records


@pytest.fixture
def log() -> Log:
    log = Log()
    log.write(b"a", b"1", 1)
    log.write(b"b", b"1", 2)
    log.write(b"a", b"2", 3)
    return log


def test_changes_beyond_the_committed_offsets_are_left_out(log: Log) -> None:
    assert restored(log, committed=2) == {b"a": frame(b"1"), b"b": frame(b"1")}


def test_all_changes_count_once_what_they_replaced_is_compacted_away(log: Log) -> None:
    log.compact()
    assert restored(log, committed=2) == {b"a": frame(b"2"), b"b": frame(b"1")}


def test_offsets_without_a_record_are_not_counted_as_replayed(log: Log) -> None:
    """Those of transactions that were aborted, and their markers."""
    log.end = 500
    log.write(b"c", b"1", 4)
    assert replayed(log, committed=4)[1] == 4


def test_a_changelog_that_was_created_again_is_not_the_one_that_the_store_is_of(log: Log) -> None:
    """Not even when it is longer by now than the old one was."""
    store = MemoryStore()
    restored(log, committed=3, store=store, topic_id="old")
    again = Log()
    for number in range(5):
        again.write(b"z", b"%d" % number, number)
    assert restored(again, committed=9, store=store, topic_id="new") == {b"z": frame(b"4")}
    assert store.position().topic_ids == {"seen": "new"}


def test_a_store_without_an_id_takes_that_of_its_changelog(log: Log) -> None:
    store = MemoryStore()
    restored(log, committed=3, store=store)
    assert store.position().topic_ids == {}
    log.write(b"d", b"1", 4)
    assert b"a" in restored(log, committed=4, store=store, topic_id="id")
    assert store.position().topic_ids == {"seen": "id"}


def test_offsets_of_an_input_that_was_created_again_say_nothing_of_the_old_one(log: Log) -> None:
    """Changes of commits that reached offset 3 of the old topic count, wherever the new one is."""
    renamed = Log()
    for key, value, upto in ((b"a", b"1", 1), (b"b", b"1", 2), (b"a", b"2", 3)):
        renamed.write(key, value, upto, name="in:0@old")
    assert restored(renamed, committed=1, ids={"in": "new"}) == {b"a": frame(b"2"), b"b": frame(b"1")}
    assert restored(renamed, committed=1, ids={"in": "old"}) == {b"a": frame(b"1")}


def test_a_change_that_was_left_out_counts_later_when_its_inputs_are_committed(log: Log) -> None:
    """As by the owner, while a process that had been paused restored from outdated offsets."""
    store = MemoryStore()
    restored(log, committed=1, store=store)
    log.write(b"c", b"1", 4)
    assert restored(log, committed=3, store=store) == {b"a": frame(b"2"), b"b": frame(b"1")}
