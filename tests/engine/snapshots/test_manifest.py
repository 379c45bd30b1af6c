"""Tests of snapshot manifests: round trip, and detection of any damage."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.snapshots import manifest as forms
from tidemill.engine.snapshots.envelope import Unreadable, sha256
from tidemill.engine.snapshots.manifest import Manifest, SnapshotFile, decode, encode
from tidemill.state.store import Position

FILES = (
    SnapshotFile("000007.sst", 70_000, "ab" * 32, "files/0000000000001-0123456789ab/" + "ab" * 32),
    SnapshotFile("CURRENT", 16, sha256(b"MANIFEST-000005\n"), content=b"MANIFEST-000005\n"),
)
MANIFEST = Manifest(
    "views",
    "0_3",
    "0.9",
    12,
    1_700_000_000_000,
    Position({"totals": 5}, {"views:3@id": 7}, {"totals": 9}, {"totals": "an id"}),
    {"totals": "count"},
    "0123",
    FILES,
)


def changed(**changes: object) -> Manifest:
    return msgspec.structs.replace(MANIFEST, **changes)


def test_it_comes_back_as_it_was():
    assert decode(encode(MANIFEST)) == changed(files=list(FILES))


def test_it_knows_its_size_and_the_files_that_are_apart():
    assert MANIFEST.size == 70_016
    assert MANIFEST.paths == {FILES[0].path}


@given(st.integers(0, 1 << 30), st.integers(0, 7))
def test_a_flipped_bit_is_found(at: int, bit: int):
    raw = bytearray(encode(MANIFEST))
    raw[at % len(raw)] ^= 1 << bit
    try:
        found = decode(bytes(raw))
    except Unreadable:
        return
    assert found == decode(encode(MANIFEST))  # such as an upper-case letter where JSON takes both


@given(st.integers(0, 1 << 30))
def test_a_truncated_one_is_found(length: int):
    raw = encode(MANIFEST)
    with pytest.raises(Unreadable):
        decode(raw[: length % len(raw)])


def test_one_of_a_later_version_is_not_read():
    with pytest.raises(Unreadable, match=r"format 2.*a later version"):
        decode(b'{"format":2,"anything":[1]}')


@pytest.mark.parametrize("name", ["../0_1/CURRENT", "/etc/passwd", "..", ""])
def test_a_file_outside_the_directory_is_refused(name: str):
    bad = changed(files=[SnapshotFile(name, 1, "00", content=b"x")])
    with pytest.raises(Unreadable, match="it names a file"):
        decode(encode(bad))


def test_names():
    assert forms.manifest_name(12) == "manifests/000000000012.json"
    assert forms.number_of("views/tasks/0_3/manifests/000000000012.json") == 12
    for other in ("12.json", "000000000012.json.4f.tmp", "000000000012.jsonx", "x000000000012.json"):
        assert forms.number_of(f"manifests/{other}") is None
    attempt = forms.new_attempt(1_700_000_000_000, random.getrandbits(60))
    assert forms.attempt_time(forms.file_path(attempt, "ab" * 32)) == 1_700_000_000_000
    for other in ("files/x/y", "manifests/0000000000001-0123456789ab/y", f"files/{attempt}", f"files/{attempt}/a/b"):
        assert forms.attempt_time(other) is None
