"""Tests of stalled partitions: those that have records and deliver none, unless they are paused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.kafka.stalled_partitions import (
    AGAIN_MS,
    SILENT_MS,
    PartitionProgress,
    StallDetector,
    StalledRestart,
)

A, B = ("a", 0), ("b", 3)
DONE = PartitionProgress(7, 7, waits=False)


def looks(
    stalls: StallDetector, reading: PartitionProgress, seconds: int, begin: int = 0
) -> dict[tuple[str, int], str]:
    """What is found within so many seconds."""
    found: dict[tuple[str, int], str] = {}
    for second in range(seconds + 1):
        found = found or stalls.look({A: reading}, begin + second * 1000)
    return found


def test_a_silent_partition_with_records_is_found_after_a_minute() -> None:
    unread = PartitionProgress(5, 12, waits=False)
    assert not looks(StallDetector(), unread, SILENT_MS // 1000 - 1)
    found = looks(StallDetector(), unread, SILENT_MS // 1000)
    assert found == {A: "topic 'a', partition 0: nothing came for 60 s at offset 5, though 7 records are unread"}
    assert "though its end is not known" in looks(StallDetector(), PartitionProgress(5, -1001, waits=False), 60)[A]


def test_a_partition_without_records_is_not() -> None:
    assert not looks(StallDetector(), PartitionProgress(12, 12, waits=False), 600)
    assert not looks(StallDetector(), PartitionProgress(5, 12, waits=True), 600)
    stalls = StallDetector()
    stalls.ended({A: 12})  # offsets 5 to 11 are transaction markers and aborted records
    assert not looks(stalls, PartitionProgress(5, 12, waits=False), 600)


def test_a_delivered_record_restarts_the_minute() -> None:
    stalls, unread = StallDetector(), PartitionProgress(5, 12, waits=False)
    for begin in range(0, 500_000, 51_000):
        assert not looks(stalls, unread, 50, begin)
        stalls.note(*A)
    assert not looks(stalls, unread, 50, 600_000)
    stalls.ended({A: 4})
    assert not looks(stalls, unread, 50, 660_000)
    stalls.forget([A])
    assert not looks(stalls, unread, 50, 720_000)


def restarts(
    stalls: StallDetector, reading: PartitionProgress, seconds: int, begin: int = 0
) -> list[tuple[int, StalledRestart]]:
    """What is to be restarted within so many seconds, and in which of them."""
    looks = ((second, stalls.restart({A: reading, B: DONE}, begin + second * 1000)) for second in range(seconds + 1))
    return [(second, restart) for second, restart in looks if restart is not None]


def test_a_silent_partition_is_read_again_and_by_a_new_client_when_that_does_not_help() -> None:
    stalls, unread = StallDetector(), PartitionProgress(5, 12, waits=False)
    (first, again), (then, replaced) = restarts(stalls, unread, (SILENT_MS + AGAIN_MS) // 1000)
    assert (first, then) == (SILENT_MS // 1000, (SILENT_MS + AGAIN_MS) // 1000)
    assert (again.offsets, again.new_client) == ({A: 5}, False)
    assert (replaced.offsets, replaced.new_client) == ({A: 5, B: 7}, True)
    assert "nothing came for 30 s" in replaced.message
    stalls.note(*A)
    assert not restarts(stalls, unread, 50, 120_000)
    [(_, later)] = restarts(stalls, unread, 10, 171_000)
    assert not later.new_client


def test_a_message_names_a_few_partitions() -> None:
    readings = {("a", number): PartitionProgress(5, 12, waits=False) for number in range(8)}
    stalls = StallDetector()
    [restart] = [found for second in range(61) if (found := stalls.restart(readings, second * 1000)) is not None]
    assert set(restart.offsets) == set(readings)
    assert restart.message.count("nothing came") == 5
    assert "; and 3 more partitions; the client reads again from there" in restart.message


def test_a_process_that_was_paused_reports_no_stalled_partition() -> None:
    stalls, unread = StallDetector(), PartitionProgress(5, 12, waits=False)
    stalls.look({A: unread}, 0)
    assert not stalls.look({A: unread}, 3_600_000)


@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans(), st.integers(-1, 9), st.integers(0, 9)), max_size=200))
def test_partitions_with_deliveries_or_without_records_are_never_reported(
    steps: list[tuple[int, bool, int, int]],
) -> None:
    stalls, now, since = StallDetector(), 0, 0
    for passed, heard, end, position in steps:
        now += passed
        if heard:
            stalls.note(*B)
        if heard or 0 <= end <= position:
            since = now
        if stalls.look({B: PartitionProgress(position, end, waits=False)}, now):
            assert now - since >= SILENT_MS - 5000
