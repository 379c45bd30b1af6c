"""Tests of `durability="snapshot"`: a task gets exactly the state that its committed offsets name, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import tidemill as tm
from tests.support.opening_process import TASK, Kafka, Process, content
from tidemill.engine.errors import StateUnusable
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.restore.opening import Ready
from tidemill.engine.restore.snapshot_restore import FOLLOW_MS, PAUSE_MS
from tidemill.engine.snapshots.downloads import Wanted, WantedNewest, WantedSnapshot
from tidemill.engine.tasks.snapshot_marks import SnapshotMark
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position, frame
from tidemill.state.topic_partition import TopicPartition

MEMORY = RocksMemory(8 << 20)


def planned() -> Plan:
    app = tm.App("app")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().count().named("n")
    return plan(partition(app.topology()), "app", {"in": 1}, {}, changelogs=False)


class Group(Kafka):
    """A group whose offset names a snapshot."""

    mark: SnapshotMark | None = SnapshotMark(str(TASK), 1, 3, "p.1-3")

    def fetch_offsets(
        self, partitions: Iterable[TopicPartition], timeout: float = 0
    ) -> dict[TopicPartition, tuple[int, str]]:
        return {} if self.mark is None else dict.fromkeys(partitions, (10, f"t=1{self.mark.metadata}"))


@dataclass
class Arrival:
    path: Path | None = None
    lost: str = ""
    trouble: str = ""
    done: bool = True
    bytes: tuple[int, int] = (0, 0)

    def abandon(self) -> None: ...


@dataclass
class Store:
    """A snapshot storage with scripted results."""

    directory: Path
    deliveries: list[str]
    """The commit of each; "lost", or "" for a failure that may pass."""
    asked: list[Wanted | WantedSnapshot | WantedNewest] = field(
        default_factory=list[Wanted | WantedSnapshot | WantedNewest]
    )

    def fetch(self, wanted: Wanted | WantedSnapshot | WantedNewest, arrived: Callable[[], None]) -> Arrival:
        self.asked.append(wanted)
        delivery = self.deliveries.pop(0)
        if delivery in ("lost", ""):
            return Arrival(lost=delivery and "its file is damaged")
        return Arrival(stored(self.directory / f"download-{len(self.asked)}", delivery))


def stored(path: Path, commit: str) -> Path:
    """A store with a key that identifies its commit."""
    store = RocksStore(path, "app", str(TASK), MEMORY)
    store.apply([Change("n", commit.encode(), frame(b"1"))], Position(commit=commit))
    store.close()
    return path


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(Group(), tmp_path / "state")
    made.end()
    yield made
    made.end()


def begun(process: Process, *deliveries: str, local: str = "") -> Store:
    """The process begins with this state on its disk."""
    if local:
        stored(process.path / "app" / "worker-0" / "tasks" / str(TASK), local)
    source = Store(process.path.parent, list(deliveries))
    process.source = source
    process.begin(planned())
    return source


def opened(process: Process) -> Ready | None:
    for _ in range(4):
        process.clock.advance(PAUSE_MS + 1)
        process.recovery._step()
    found = process.recovery.finished()
    assert all(isinstance(one, Ready) for one in found)
    return found[0] if found else None  # type: ignore[return-value]


def test_a_disk_with_the_committed_state_is_used_as_it_is(process: Process) -> None:
    source = begun(process, local="p.1-3")
    process.recovery.open({TASK: 1})
    ready = opened(process)
    assert ready is not None
    assert content(ready) == {b"p.1-3"}
    assert source.asked == []


@pytest.mark.parametrize("local", ["p.1-2", "p.1-4", ""])
def test_another_state_is_replaced_by_the_snapshot(process: Process, local: str) -> None:
    source = begun(process, "p.1-3", local=local)
    process.recovery.open({TASK: 1})
    ready = opened(process)
    assert ready is not None
    assert content(ready) == {b"p.1-3"}
    assert source.asked == [WantedSnapshot(TASK, 3, "p.1-3", process.stores.files(TASK))]
    assert ready.mark == Group.mark


def test_state_that_no_offset_names_is_removed(process: Process) -> None:
    process.kafka.mark = None  # type: ignore[attr-defined]
    begun(process, local="p.1-3")
    process.recovery.open({TASK: 1})
    ready = opened(process)
    assert ready is not None
    assert content(ready) == set()


def test_an_unavailable_storage_is_waited_for(process: Process) -> None:
    source = begun(process, *[""] * 8, "p.1-3", local="p.1-4")
    process.recovery.open({TASK: 1})
    assert opened(process) is None
    ready = None
    while source.deliveries:
        ready = opened(process)
    assert ready is not None
    assert content(ready) == {b"p.1-3"}


def test_a_snapshot_that_is_lost_ends_the_process(process: Process) -> None:
    begun(process, "lost", "lost", "lost")
    process.recovery.open({TASK: 1})
    assert opened(process) is None
    process.clock.advance(PAUSE_MS + 1)
    process.recovery._step()
    with pytest.raises(StateUnusable, match=r"name snapshot 3 of its state.*damaged.*tidemill reset"):
        opened(process)


def test_a_standby_follows_the_newest_and_a_promoted_one_takes_the_one_that_is_committed(process: Process) -> None:
    source = begun(process, "p.1-2", "p.1-4", "p.1-3")
    assert process.recovery.lags() == {}
    process.follow()
    process.clock.advance(FOLLOW_MS + 1)
    process.follow()
    assert process.recovery.lags() == {TASK: 0}
    assert [wanted.present for wanted in source.asked if isinstance(wanted, WantedNewest)] == ["", "p.1-2"]
    process.recovery.open({TASK: 1})
    process.recovery.standby([])
    ready = opened(process)
    assert ready is not None
    assert content(ready) == {b"p.1-3"}
