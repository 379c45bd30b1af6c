"""Tests of savepoint manifests: round trip, and protection of their files from deletion."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.bucket import Bucket
from tidemill.engine.snapshots.envelope import Unreadable, sha256
from tidemill.engine.snapshots.pins import names_of, pinned_numbers, savepoint_of, savepoints_of
from tidemill.engine.snapshots.savepoint import (
    InFlight,
    Savepoint,
    SavepointFile,
    SavepointInput,
    SavepointSubTopology,
    SavepointTask,
    decode,
    encode,
    is_name,
    name_in,
    path_of,
    pinned,
)
from tidemill.engine.snapshots.storage import Missing, StorageError

PART = SavepointSubTopology(0, "views", "f0", 1, ["views"], {"n": "count"}, {"n": "app-n-changelog"}, {"r": "step"})
FILE = SavepointFile("files/a/r-0", 10, "00", 3)


def savepoint(name: str = "first", **snapshots: int) -> Savepoint:
    tasks = [SavepointTask(task, number, [FILE]) for task, number in snapshots.items()]
    inputs = [SavepointInput("views", 0, 12, "t=5;i=id", "id")]
    flying = [InFlight("r", 0, 3, 9, [FILE, FILE])]
    return Savepoint(name, "app", "1", "0000000000001-000000000000", 7, "exactly_once", [PART], tasks, inputs, flying)


def test_it_comes_back_as_it_was():
    one = savepoint(t0_0=3)
    assert decode(encode(one)) == one
    assert one.in_flight[0].records == 6
    assert list(one.files) == [FILE] * 3


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_a_changed_byte_is_found(at: int):
    raw = bytearray(encode(savepoint(t0_0=3)))
    raw[at] ^= 1
    try:
        found = decode(bytes(raw))
    except Unreadable:
        return
    assert found == savepoint(t0_0=3)


def test_a_later_format_is_refused():
    raw = msgspec.json.encode({"format": 99, "what": "else"})
    with pytest.raises(Unreadable, match="a later version wrote it"):
        decode(raw)


@pytest.mark.parametrize("name", ["before-upgrade", "2026-11-30", "a.b_c", "x" * 100])
def test_names_that_may_be_given(name: str):
    assert is_name(name)
    assert name_in("app", path_of("app", name)) == name


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "x" * 101, "a.json", "é"])
def test_names_that_may_not(name: str):
    assert not is_name(name)


def test_only_manifests_of_savepoints_are_listed():
    bucket = Bucket()
    for name in ("b", "a"):
        bucket.content[path_of("app", name)] = encode(savepoint(name))
    bucket.content["app/savepoints/files/a/r-0.json"] = b""
    bucket.content["app-other/savepoints/c.json"] = b""
    assert names_of(bucket, "app") == ["a", "b"]
    assert [one.name for one in savepoints_of(bucket, "app")] == ["a", "b"]
    with pytest.raises(Missing):
        savepoint_of(bucket, "app", "c")


def test_what_savepoints_name_is_pinned_and_one_that_cannot_be_read_pins_everything():
    one, two = savepoint("a", t0_0=3, t0_1=5), savepoint("b", t0_0=4)
    assert pinned([one, two], "t0_0") == {3, 4}
    assert pinned([one, two], "t0_1") == {5}
    bucket = Bucket()
    bucket.content[path_of("app", "a")] = encode(one)
    assert pinned_numbers(bucket, "app", "t0_0") == {3}
    bucket.content[path_of("app", "b")] = encode(two)[:-5]
    with pytest.raises(StorageError, match="savepoint b of app cannot be used"):
        pinned_numbers(bucket, "app", "t0_0")


def test_the_hash_of_a_topology_is_that_of_its_parts():
    assert savepoint().topology == sha256(b"f0")[:16]
