"""Tests of snapshot retention: files of existing snapshots are never deleted.

The property test runs an owner, and a former owner that may pause for any time between two steps.
"""

from __future__ import annotations

import random

import pytest

from tests.support.examples import seeds
from tidemill.engine.snapshots.choice import Found
from tidemill.engine.snapshots.manifest import Manifest, SnapshotFile, file_path, manifest_name, new_attempt
from tidemill.engine.snapshots.retention import GRACE_MS, ORPHAN_MS, Present, condemn, due, newest
from tidemill.state.store import Position

IDS = {"a": "id"}
WALL = 1_700_000_000_000


def path(at: int, name: str) -> str:
    return file_path(new_attempt(at, 0), name)


def snapshot(number: int, *paths: str, ids: dict[str, str] = IDS) -> Found:
    files = [SnapshotFile(f"{name}.sst", 1, name, name) for name in paths]
    return Found(number, Manifest("app", "0_0", "", 1, 0, Position({"a": number}, topic_ids=ids), {}, "", files))


F = [path(WALL - 1000 + number, f"f{number}") for number in range(9)]


def condemned(
    *snapshots: Found, unreadable: tuple[int, ...] = (), files: list[str] | None = None, keep: int = 2
) -> set[str]:
    there = sorted({name for one in snapshots for name in one.manifest.paths} | set(files or ()))
    return set(condemn(Present(snapshots, unreadable, there), IDS, keep, {}, 0, WALL))


def test_the_newest_are_kept_with_all_that_they_name():
    found = condemned(snapshot(1, F[1], F[2]), snapshot(2, F[2], F[3]), snapshot(3, F[3], F[4]), keep=2)
    assert found == {manifest_name(1), F[1]}


def test_those_of_a_changelog_that_is_gone_are_not_needed():
    found = condemned(
        snapshot(1, F[1], ids={"a": "old"}), snapshot(2, F[2], ids={"a": "old"}), snapshot(3, F[3]), keep=2
    )
    assert found == {manifest_name(1), manifest_name(2), F[1], F[2]}


def test_a_file_that_no_snapshot_names_may_be_in_the_middle_of_its_upload():
    young, old = path(WALL - ORPHAN_MS, "x"), path(WALL - ORPHAN_MS - 1, "x")
    assert condemned(snapshot(1, F[1]), files=[young, old, "files/what/is-this"]) == {old}


def test_what_cannot_be_read_goes_except_the_highest():
    assert condemned(snapshot(2, F[1]), unreadable=(1,)) == {manifest_name(1)}
    assert condemned(snapshot(2, F[1]), unreadable=(3,)) == set()


def test_it_is_due_after_an_hour_without_a_break_and_manifests_go_first():
    snapshots, files = (snapshot(1, F[1]), snapshot(2, F[2])), [F[1], F[2]]
    first = condemn(Present(snapshots, (), files), IDS, 1, {}, 1000, WALL)
    again = condemn(Present(snapshots, (), files), IDS, 1, first, 2000, WALL)
    assert set(again.values()) == {1000}
    assert due(again, 1000 + GRACE_MS - 1) == []
    assert due(again, 1000 + GRACE_MS) == [manifest_name(1), F[1]]
    needed = condemn(Present((*snapshots, snapshot(3, F[1])), (), files), IDS, 1, again, 3000, WALL)
    assert F[1] not in needed


def test_the_newest_is_the_highest_of_the_same_topics():
    one, two, other = snapshot(1, F[1]), snapshot(2, F[2]), snapshot(3, F[3], ids={"a": "old"})
    assert newest([two, other, one], IDS) == two
    assert newest([other], IDS) is None


class Process:
    """Takes and deletes snapshots as `taking.py` does, one step at a time."""

    def __init__(self, chance: random.Random, bucket: World, keep: int) -> None:
        self.chance, self.bucket, self.keep = chance, bucket, keep
        self.condemned: dict[str, int] = {}
        self.steps = self.life()

    def life(self):
        bucket, chance = self.bucket, self.chance
        while True:
            head = newest(bucket.present().snapshots, IDS)
            reused = [name for name in head.manifest.paths if chance.random() < 0.5] if head else []
            yield
            attempt = new_attempt(WALL + bucket.now, chance.getrandbits(48))
            new = [file_path(attempt, str(number)) for number in range(chance.randint(1, 2))]
            for name in new:
                bucket.files.add(name)
                yield
            looked, present = bucket.now, bucket.present()
            now_head = newest(present.snapshots, IDS)
            if (now_head and now_head.number) != (head and head.number):
                continue
            number = max((one.number for one in present.snapshots), default=0) + 1
            yield
            if number in bucket.snapshots:
                continue
            bucket.snapshots[number] = snapshot(number, *reused, *new)
            if bucket.now - looked > GRACE_MS // 2:
                del bucket.snapshots[number]  # in the same step: the answer to the write has come
                continue
            for _ in range(chance.randint(1, 3)):
                yield
                self.condemned = condemn(
                    bucket.present(), IDS, self.keep, self.condemned, bucket.now, WALL + bucket.now
                )
                for name in due(self.condemned, bucket.now):
                    yield
                    bucket.delete(name)


class World:
    def __init__(self) -> None:
        self.now = 0
        self.snapshots: dict[int, Found] = {}
        self.files: set[str] = set()

    def present(self) -> Present:
        return Present(tuple(self.snapshots.values()), (), frozenset(self.files))

    def delete(self, name: str) -> None:
        if name.endswith(".json"):
            self.snapshots.pop(int(name[-17:-5]), None)
        self.files.discard(name)

    def check(self) -> None:
        for one in self.snapshots.values():
            missing = one.manifest.paths - self.files
            assert not missing, f"snapshot {one.number} names {missing}, which is gone"


@pytest.mark.parametrize("seed", seeds(60, fast=15))
def test_an_existing_snapshot_is_complete_whichever_process_pauses(seed: int):
    chance = random.Random(seed)
    world = World()
    processes = [Process(chance, world, chance.randint(1, 3)) for _ in range(3)]
    for _ in range(300):
        process = chance.choice(processes)  # the others are paused
        for _ in range(chance.randint(1, 25)):
            next(process.steps)
            world.check()
            world.now += chance.choice([0, 1_000, 10_000])
        world.now += chance.choice([0, 0, 0, 60_000, GRACE_MS // 4, GRACE_MS, ORPHAN_MS // 8])
    assert world.snapshots
    assert len(world.files) < 1_000


def test_what_a_savepoint_names_is_kept_with_its_files_whatever_topics_there_are_now():
    snapshots = (snapshot(1, F[1], F[2], ids={"a": "old"}), snapshot(2, F[2], F[3]), snapshot(3, F[4]))
    there = Present(snapshots, (), frozenset(F[1:5]))
    assert set(condemn(there, IDS, 1, {}, 0, WALL)) == {manifest_name(1), manifest_name(2), F[1], F[2], F[3]}
    assert set(condemn(there, IDS, 1, {}, 0, WALL, pinned={1})) == {manifest_name(2), F[3]}
    unreadable = Present(snapshots[2:], (1, 2), frozenset())
    assert set(condemn(unreadable, IDS, 1, {}, 0, WALL, pinned={1})) == {manifest_name(2)}
